/*
 * A refusal that a page can read: the handshake is accepted and closed at once, because browsers do not show the status of a
 * handshake to the page.
 */
import type { IncomingMessage } from 'node:http'
import { WebSocketServer } from 'ws'
import type { ServerOptions } from 'ws'
import { CLOSE_TIMEOUT } from '../base/close-codes'
import type { CloseFrame } from '../base/close-codes'
import { closeQuietly } from '../connection/ws-internals'
import type { Upgrade } from './upgrade'

/** The longest message that is read from a refused client, in bytes. It is dropped; a longer one ends the socket at once. */
const MAX_PAYLOAD = 16_384

/**
 * Accepts handshakes and closes them. No later hook and no handler sees such a connection, and it is not among the clients of
 * the app's own server. It ends even if the client ignores the close frame. No data of the client is kept.
 */
export class AcceptAndClose {
  readonly #server: WebSocketServer
  readonly #most: number
  /** How many sockets have not closed yet. */
  #open = 0

  /** @param most how many sockets may be open at once: a client that ignores its close frame holds its socket for 5 s */
  constructor (handleProtocols: ServerOptions['handleProtocols'], most: number) {
    this.#server = new WebSocketServer({ noServer: true, clientTracking: false, maxPayload: MAX_PAYLOAD, handleProtocols })
    this.#most = most
  }

  /** Whether one more may be accepted. If not, the answer is a status. */
  get hasRoom (): boolean {
    return this.#open < this.#most
  }

  refuse (request: IncomingMessage, upgrade: Upgrade, { code, reason }: CloseFrame): void {
    this.#open++
    upgrade.socket.once('close', () => { this.#open-- })
    upgrade.destroyIn(CLOSE_TIMEOUT)
    try {
      this.#server.handleUpgrade(request, upgrade.socket, upgrade.head, (socket) => {
        socket.on('error', () => socket.terminate())
        closeQuietly(socket)
        socket.close(code, reason)
      })
    } catch {
      // `handleProtocols` of the app may throw, and ws does not answer then.
      upgrade.socket.destroy()
    }
  }
}
