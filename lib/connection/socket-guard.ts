/*
 * The guard of a socket: an object that decides which events of the socket reach the app, and whether the app may send.
 */
import type { RawData, WebSocket } from 'ws'
import { prepareEnd } from './ws-internals'

/** Who began to close a socket: the app, the client with a close frame, the client without one, or ws because of an invalid frame. */
export type Closer = 'app' | 'client' | 'lost' | 'error'

/** Decides which events of a socket reach the app, and whether the app may send. */
export interface SocketGuard {
  /** Whether a message, a ping or a pong may be sent. */
  admitSend (): boolean
  /** Whether a message may reach the app. */
  admitMessage (data: RawData, isBinary: boolean): boolean
  /** Whether a ping or pong may reach the app. */
  admitControl (): boolean
  /** Whether an error may reach the app. */
  admitError (error: Error): boolean
  /** The closing handshake has begun. */
  onClosing (by: Closer): void
  /** The socket has closed. */
  onClosed (): void
}

/** The property of a socket that holds its guard. */
export const kGuard = Symbol('fastify-ws-auth.guard')

/** A socket that may have a guard. Without one, all events reach the app. */
export interface GuardedSocket extends WebSocket {
  [kGuard]?: SocketGuard | null
}

/** Whether an object is the guard of a socket now. */
export function isGuardOf (socket: GuardedSocket, by: object): boolean {
  return socket[kGuard] === by
}

/** Sets the guard of a socket, or replaces it. */
export function guard (socket: GuardedSocket, by: SocketGuard): void {
  socket[kGuard] = by
  prepareEnd(socket)
}
