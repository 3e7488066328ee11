/*
 * The user of a request or a connection, and how `request.user` is set.
 */
import type { FastifyRequest } from 'fastify'
import { WsAuthError } from '../base/errors'
import type { TokenSource } from '../credentials/found'
import type { Claims } from '../token/claims'

/** The user of a connection, as its token says. Each property is `null` for an anonymous connection. */
export interface Identity {
  readonly user: FastifyRequest['user'] | null
  readonly claims: Claims | null
  /** The subject of the token: its `sub` (RFC 7519, 4.1.2), or the result of the `subject` option; `null` if it has none. */
  readonly sub: string | null
  /** The names that the `groups` option read from the claims. */
  readonly groups: readonly string[]
  /** Where the token of the handshake, or of the first message, was found. A renewal does not change it. */
  readonly source: TokenSource | null
  /** When the token expires, in milliseconds since the epoch; `null` for never. */
  readonly expiresAt: number | null
}

/** The user, and the key that has signed the token. */
export interface VerifiedIdentity extends Identity {
  /** The `kid` in the header of the token that was verified, or of the one behind a ticket (RFC 7515, 4.1.4); `null` or left out if it has none. */
  readonly kid?: string | null
}

/** Sets the user of a request. Returns a refusal if that fails (a setter of the app throws), else `null`. */
export type SetUser = (request: FastifyRequest, user: FastifyRequest['user'] | null) => WsAuthError | null

/** @param decorator the request decorator that @fastify/jwt sets, if it has another name than `user`; `null` without @fastify/jwt */
export function userSetter (decorator: string | null): SetUser {
  return (request, user) => {
    try {
      request.user = user as FastifyRequest['user']
      if (decorator !== null && decorator !== 'user') (request as unknown as Record<string, unknown>)[decorator] = user
      return null
    } catch (error) {
      return new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: error })
    }
  }
}
