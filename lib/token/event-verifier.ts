/*
 * Verifies security event tokens (RFC 8417) with the keys and the settings of access tokens, except for what is different in them: they
 * have an audience of their own, any age, and no subject.
 */
import type { FastifyJWTOptions, JWT } from '@fastify/jwt'
import { assertClaims } from './claims'
import type { ClaimRules, Claims } from './claims'
import { verifyOnce } from './fastify-jwt'
import { freezeData } from './frozen-data'
import { assertFormat, readClaims, readHeader } from './jwt-format'
import { settle, verified } from './verifier'
import type { Verifier, VerifyToken } from './verifier'

/** RFC 8417, 2.3. */
const EVENT_TYPE = 'secevent+jwt'
/** In seconds: @fastify/jwt cannot turn `maxAge` off for one call. */
const ANY_AGE = 1e10

/** Whose events, and for whom. */
export interface EventAudience {
  readonly issuer: string
  readonly audience: string
}

/** What an event token says before it is verified. Throws if it is no JWT. */
export interface UnverifiedEvent {
  /** Whether it says that it is a security event token (RFC 7515, 4.1.9: case does not count, and `application/` may be left out). */
  readonly isEvent: boolean
  readonly iss: unknown
  readonly aud: unknown
}

/** @throws WsAuthError `WS_AUTH_TOKEN_INVALID` if the text is not a JWT */
export function readUnverifiedEvent (token: string): UnverifiedEvent {
  assertFormat(token)
  const { typ } = readHeader(token)
  const { iss, aud } = readClaims(token)
  return { isEvent: typeof typ === 'string' && typ.toLowerCase().replace(/^application\//, '') === EVENT_TYPE, iss, aud }
}

/** The verifier of event tokens, made of @fastify/jwt. */
export function createEventVerifier (jwt: JWT, method: string, own: FastifyJWTOptions | undefined, rules: ClaimRules, { issuer, audience }: EventAudience): VerifyToken {
  const { maxAge } = jwt.options.verify
  const settings = {
    allowedIss: issuer,
    allowedAud: audience,
    allowedSub: null,
    allowedJti: null,
    allowedNonce: null,
    requiredClaims: null,
    checkTyp: EVENT_TYPE,
    ...maxAge == null ? {} : { maxAge: ANY_AGE }
  }
  const ask = verifyOnce(jwt, method, own, settings)
  return (token, request) => settle(token, () => ask(token, request), () => eventOf(freezeData(readClaims(token)), rules))
}

/** The verifier of event tokens if the app verifies tokens by the `verify` option: it is given them too. */
export function eventVerifierOf ({ verify, rules }: Verifier): VerifyToken {
  return async (token, request, context) => eventOf((await verified(verify(token, request, context))).claims, rules)
}

function eventOf (claims: Claims, rules: ClaimRules): { claims: Claims, user: unknown } {
  assertClaims(claims, { ...rules, required: [], maxAge: null }, Date.now())
  return { claims, user: claims }
}
