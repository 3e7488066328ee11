/*
 * Why a handshake ends before its checks do.
 */
import { WsAuthError } from '../base/errors'

/** The deadline passed, the server closes, or the client has left. */
export type HandshakeEnd = 'timeout' | 'shutdown' | 'gone'

/** The cause of a refusal if the checks took too long, or the server closes. */
export class HandshakeEnded extends Error {
  constructor (why: HandshakeEnd) {
    super(reasonOf(why))
    this.name = 'HandshakeEnded'
  }
}

/** The text of the log. */
export function reasonOf (why: HandshakeEnd): string {
  return why === 'timeout' ? 'the handshake took longer than handshakeTimeout' : 'the server is closing'
}

/** The refusal that is logged if other code has answered the request during its verification: Fastify does after `handlerTimeout`. */
export function answeredEarly (): WsAuthError {
  return new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: new Error('the request was answered while its verification was waited for (handlerTimeout?)') })
}
