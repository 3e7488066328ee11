/*
 * Waits of real time, for clients.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { WebSocket } from 'ws'
import type { Connection } from '../connection/connection'
import { connectionOf } from '../connection/connection-of'
import { pingSafely } from '../connection/safe-calls'

/** How many pauses, of how many milliseconds. */
const PAUSES = 500
const PAUSE = 1

/** Waits until something is true, for half a second at most. @returns whether it is */
export async function patiently (isTrue: () => boolean): Promise<boolean> {
  for (let pauses = PAUSES; pauses > 0 && !isTrue(); pauses--) await pause(PAUSE)
  return isTrue()
}

/** Waits until the client of a connection has read everything, by a ping: frames are read in order. */
export async function clientHasRead (app: FastifyInstance, connection: Connection): Promise<void> {
  const socket = [...app.websocketServer.clients].find((socket) => isOf(socket, connection))
  if (socket === undefined || !pingSafely(socket)) return
  let isAnswered = false
  const onPong = (): void => { isAnswered = true }
  socket.once('pong', onPong)
  await patiently(() => isAnswered)
  socket.off('pong', onPong)
}

function isOf (socket: WebSocket, connection: Connection): boolean {
  try {
    return connectionOf(socket) === connection
  } catch {
    return false
  }
}
