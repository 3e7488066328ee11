/*
 * Why a security event was refused, in the words of RFC 8935, 2.4, which the transmitter gets. The log has the reason.
 */
import { WsAuthError } from '../base/errors'

/** The error codes, and what the transmitter is told. */
const DESCRIPTIONS = {
  invalid_request: 'The body is not a security event token that this receiver can read.',
  invalid_key: 'The key of the security event token is unknown, or its algorithm is not accepted.',
  invalid_issuer: 'The issuer of the security event token is not the one that this receiver expects.',
  invalid_audience: 'The security event token is for another audience.',
  authentication_failed: 'The signature of the security event token could not be verified.',
  access_denied: 'This receiver does not accept security event tokens of this transmitter.'
} as const

/** An error code of RFC 8935, 2.4. */
export type SignalErrorCode = keyof typeof DESCRIPTIONS

/** The refusal of a security event. The transmitter must not send it again. */
export class SignalRefusal extends Error {
  readonly code: SignalErrorCode

  /** @param why for the log, not for the transmitter */
  constructor (code: SignalErrorCode, why: string) {
    super(why)
    this.code = code
  }

  /** The body of the answer (RFC 8935, 2.3). */
  get body (): string {
    return JSON.stringify({ err: this.code, description: DESCRIPTIONS[this.code] })
  }
}

/** What verifiers say of a key: fast-jwt, @fastify/jwt, jose, get-jwks and this package. */
const KEY = /INVALID_ALGORITHM|INVALID_KEY|MISSING_KEY|MISSING_SIGNATURE|ALG_NOT_ALLOWED|NO_MATCHING_KEY|JWK_NOT_FOUND|there is no such key|[Ii]nvalid public key|kid is not the name|alg is not the name/
const SIGNATURE = /INVALID_SIGNATURE|SIGNATURE_VERIFICATION_FAILED|signature is invalid|verify did not return an object/
const TRUST = /it is not trusted|UNTRUSTED/

/** Reads the refusal of a verifier. Returns any other error as it is: it says nothing about the token. */
export function toSignalRefusal (error: unknown): unknown {
  if (!(error instanceof WsAuthError) || error.statusCode >= 500) return error
  const why = error.cause instanceof Error ? error.cause.message : String(error.cause ?? error.code)
  if (error.code === 'WS_AUTH_FORBIDDEN' || TRUST.test(why)) return new SignalRefusal('access_denied', why)
  if (KEY.test(why)) return new SignalRefusal('invalid_key', why)
  return new SignalRefusal(SIGNATURE.test(why) ? 'authentication_failed' : 'invalid_request', why)
}
