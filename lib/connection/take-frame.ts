/*
 * The messages of an open connection that are for this package, and not for the app.
 */
import { readAuthFrame } from './auth-frames'
import type { ConnectionHost } from './connection-host'
import type { KeptRequest } from './kept-request'
import type { GuardedSocket } from './socket-guard'

/** Handles an auth frame. @returns whether the text is one */
export function takeFrame<C> (text: Buffer, connection: C, socket: GuardedSocket | null, kept: KeptRequest, { maxFrameBytes, renewals, route }: ConnectionHost<C>): boolean {
  const frame = readAuthFrame(text, maxFrameBytes)
  if (frame === null) return false
  if (socket !== null) renewals.onFrame(connection, socket, kept, route, frame)
  return true
}
