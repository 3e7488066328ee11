/*
 * Reads the answer of @fastify/jwt: the claims of this token and no other, frozen, as a copy for one caller.
 */
import type { FastifyJWTOptions, JWT } from '@fastify/jwt'
import { WsAuthError } from '../base/errors'
import type { Claims } from './claims'
import { freezeData, frozenCopy, isSameData } from './frozen-data'
import { assertUtf8, readClaims } from './jwt-format'
import { payloadOf } from './jwt-secret'
import { FormatFailure } from './token-view'
import type { TokenView } from './token-view'
import type { Verified } from './verifier'

/** Reads the answer of `request.jwtVerify()`: the user that `formatUser` made of the claims, or the claims. */
export type ReadAnswer = (answer: unknown, token: string, view: TokenView) => Verified

/** If this plugin registered @fastify/jwt, the view has a record of the verified claims (see `jwt-secret.ts`). */
export function ownReader (jwt: JWT, { formatUser }: FastifyJWTOptions): ReadAnswer {
  const claimsOf = claimsReader(jwt, true)
  return (answer, token, { verified }) => {
    if (answer instanceof FormatFailure) throw answer.error
    if (verified === null) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'it was not verified' })
    const claims = claimsOf(verified, token)
    return { claims, user: formatUser === undefined ? userOf(answer, claims, jwt) : frozenCopy(answer) }
  }
}

/**
 * If the app registered @fastify/jwt, only its answer is known. The view has no other token than this one, so an answer that differs
 * from the claims comes from a `formatUser`. With a fixed key the token is verified once more, which proves it.
 *
 * @param verifyAgain verifies the token once more, `null` if that is not possible
 */
export function foreignReader (jwt: JWT, verifyAgain: ((token: string) => unknown) | null): ReadAnswer {
  return (answer, token) => {
    const claims = freezeData(readClaims(token))
    if (isSameData(payloadOf(answer, jwt.options), claims)) return { claims, user: claims }
    if (verifyAgain !== null) assertSame(payloadOf(verifyAgain(token), jwt.options), claims)
    return { claims, user: frozenCopy(answer) }
  }
}

/**
 * Makes a function that reads the claims in a verified payload.
 *
 * @param isShared whether other code has the payload too
 */
export function claimsReader ({ options }: JWT, isShared: boolean): (payload: Claims, token: string) => Claims {
  const { cache, cacheKeyBuilder } = options.verify as Record<string, unknown>
  if (!isOn(cache)) {
    return (payload, token) => {
      assertUtf8(token)
      return isShared ? frozenCopy(payload) : freezeData(payload)
    }
  }
  // The cache gives one object to all users of a token, and each may have changed it. Its key is the hash of the whole token, so the
  // text of the token is what was verified, unless the app builds the key from less.
  return (payload, token) => {
    const claims = freezeData(readClaims(token))
    if (cacheKeyBuilder !== undefined) assertSame(payload, claims)
    return claims
  }
}

/** Refuses an answer about another token. */
function assertSame (payload: Claims, claims: Claims): void {
  if (!isSameData(payload, claims)) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'the verifier answered with the claims of another token' })
}

/** The user if there is no `formatUser`: the claims, or the copy of them that a `trusted` of the app has changed. */
export function userOf (answer: unknown, claims: Claims, jwt: JWT): unknown {
  const payload = payloadOf(answer, jwt.options)
  return isSameData(payload, claims) ? claims : frozenCopy(payload)
}

/** Whether the `cache` option of @fastify/jwt is on. */
export function isOn (cache: unknown): boolean {
  return cache !== undefined && cache !== false
}
