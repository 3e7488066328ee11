/*
 * How a refusal looks on the wire: the headers of the answer before the upgrade, or the close frame after it.
 */
import type { IncomingMessage } from 'node:http'
import { WebSocketServer } from 'ws'
import type { ServerOptions } from 'ws'
import { CLOSE_TIMEOUT, closeFrameOf } from '../base/close-codes'
import type { CloseFrame } from '../base/close-codes'
import type { WsAuthError, WsAuthErrorCode } from '../base/errors'
import type { HandshakeOptions } from '../options/complete-options'
import { closeQuietly } from '../connection/socket'
import type { Upgrade } from './upgrade'

/** The longest message that is read from whoever was refused, in bytes. It is thrown away; a longer one ends it at once. */
const MAX_PAYLOAD = 16_384

/** RFC 6750, 3: what a challenge says of a refusal. No error where there was no token; the scheme may not stand alone either. */
const CHALLENGES: Partial<Record<WsAuthErrorCode, string>> = {
  WS_AUTH_TOKEN_MISSING: 'Bearer realm="websocket"',
  WS_AUTH_TOKEN_INVALID: 'Bearer error="invalid_token"',
  WS_AUTH_TOKEN_EXPIRED: 'Bearer error="invalid_token"',
  WS_AUTH_TOKEN_REVOKED: 'Bearer error="invalid_token"',
  WS_AUTH_TICKET_INVALID: 'Bearer error="invalid_token"',
  WS_AUTH_TOKEN_AMBIGUOUS: 'Bearer error="invalid_request"',
  WS_AUTH_FORBIDDEN: 'Bearer error="insufficient_scope"'
}

/** The `WWW-Authenticate` of a refusal (RFC 6750, 3), or `undefined`. */
export function challengeOf (code: WsAuthErrorCode, scopes: readonly string[] | null): string | undefined {
  const challenge = CHALLENGES[code]
  if (code !== 'WS_AUTH_FORBIDDEN' || scopes === null) return challenge
  return `${challenge}, scope="${scopes.join(' ')}"`
}

/** The close code and reason of a refusal; `null` where this handshake is to be answered with a status. */
export function closeOf ({ code }: WsAuthError, { rejectWith, closeCodes }: HandshakeOptions, { headers }: IncomingMessage): CloseFrame | null {
  const closes = rejectWith === 'close' || (rejectWith === 'auto' && headers.origin !== undefined)
  return closes ? closeFrameOf(code, closeCodes) : null
}

/**
 * Accepts handshakes and closes them, so that the page behind learns why. No later hook and no handler sees such a
 * connection, nor the clients of the app's own server; it does not outlive a client that ignores the close frame, and
 * nothing of what the client sends is collected.
 */
export class Refuser {
  readonly #server: WebSocketServer
  /** How many have not gone yet. */
  #open = 0

  constructor (handleProtocols: ServerOptions['handleProtocols']) {
    this.#server = new WebSocketServer({ noServer: true, clientTracking: false, maxPayload: MAX_PAYLOAD, handleProtocols })
  }

  /** Whether one more may be accepted. A client that ignores its close frame holds its socket for 5 s: past so many, a status has to do. */
  hasRoom (most: number): boolean {
    return this.#open < most
  }

  refuse (request: IncomingMessage, upgrade: Upgrade, code: number, reason: string): void {
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
      // The app's own `handleProtocols` may throw. Nobody above could answer any more, and nobody catches it there.
      upgrade.socket.destroy()
    }
  }
}
