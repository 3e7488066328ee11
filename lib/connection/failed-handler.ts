/*
 * The socket of a handler that has thrown: its client gets a close frame, unless the error handler of the app does better.
 */
import type { WebSocket } from 'ws'
import { terminateSafely } from './safe-calls'

const kFailed = Symbol('fastify-ws-auth.failed')

type FailedSocket = WebSocket & { [kFailed]?: () => void }

/** Marks the socket of a handler that has failed. @param close sends the close frame */
export function markFailed (socket: WebSocket, close: () => void): void {
  (socket as FailedSocket)[kFailed] = close
}

/** Ends a socket because of an error. If the handler has failed, its client gets a close frame; for other errors ws has sent one. */
export function endOverError (socket: WebSocket): void {
  const close = (socket as FailedSocket)[kFailed] ?? (() => terminateSafely(socket))
  close()
}
