/*
 * `app.close()` is done with WebSockets within 5 s, whatever the other sides do: nothing new is accepted, everything open is
 * told, and who has not gone by then is not waited for.
 */
import type { WebSocketServer } from 'ws'
import type { WaitingRoom } from '../in-band/waiting-room'
import type { Gate } from '../handshake/pre-validation'
import { GOING_AWAY } from '../base/close-codes'
import type { Life } from '../connection/lifecycle'

/** How long the other sides may take over the closing handshake, in milliseconds. */
const GOODBYE_TIMEOUT = 3000

/** What has to come to its end. */
export interface ShutdownParts {
  readonly gate: Gate
  readonly waitingRoom: WaitingRoom
  readonly life: Life
  readonly server: WebSocketServer
}

/**
 * Ends them. All in one turn, however many there are: nothing else is left to do.
 *
 * @returns what is to be called when they have gone
 */
export function shutDown ({ gate, waitingRoom, life, server }: ShutdownParts): () => void {
  const timer = setTimeout(() => {
    for (const socket of server.clients) socket.terminate()
    waitingRoom.terminate()
  }, GOODBYE_TIMEOUT).unref()
  gate.close()
  waitingRoom.close()
  life.close()
  // Those of public routes.
  for (const socket of server.clients) socket.close(GOING_AWAY, 'shutdown')
  return () => clearTimeout(timer)
}
