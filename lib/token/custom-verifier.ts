/*
 * The verifier of the `verify` option.
 */
import type { FastifyRequest } from 'fastify'
import { WsAuthError } from '../base/errors'
import { assertClaims } from './claims'
import type { ClaimRules, Claims } from './claims'
import { frozenCopy } from './frozen-data'
import { settle } from './verifier'
import type { Verified, Verifier, VerifyContext, VerifyToken } from './verifier'
import { toForbidden } from './verifier-errors'

/** The app's own verification. Returns the claims of a token, or a value that is not an object to refuse the token. */
export type VerifyOption = (token: string, request: FastifyRequest, context: { signal: AbortSignal }) => unknown

const NO_RULES: ClaimRules = { required: [], clockTolerance: 0, checkExpiry: true, checkNotBefore: true, maxAge: null }

/** RFC 6750, 2.1, allows less. Other characters could end a line of a protocol into which `verify` writes the token. */
const VISIBLE_ASCII = /^[\x21-\x7e]+$/

export function createCustomVerifier (verifyOption: VerifyOption): Verifier {
  const verify: VerifyToken = (token, request, { signal }: VerifyContext) => {
    if (!VISIBLE_ASCII.test(token)) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'it has a character that is not visible ASCII' })
    return settle(token, () => verifyOption(token, request, { signal }), readClaims, toForbidden)
  }
  return { verify, rules: NO_RULES, needsRequest: true }
}

/** An error that is returned counts as one that is thrown: as claims, it would admit each client whose token was found wrong. */
function readClaims (answer: unknown): Verified {
  if (answer instanceof Error) throw answer
  if (typeof answer !== 'object' || answer === null || Array.isArray(answer)) {
    throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: `verify did not return an object${kindOf(answer)}` })
  }
  // Copies the claims even from an instance of a class: all users of the token would share that instance.
  const claims = frozenCopy({ ...answer } as Claims)
  assertClaims(claims, NO_RULES, Date.now())
  return { claims, user: claims }
}

/** `undefined` is most often a forgotten `return`; `null` is the answer of a function that found nothing. */
function kindOf (answer: unknown): string {
  if (answer === undefined) return ': it returned undefined (is a return or an await missing?)'
  return answer === null ? '' : `: it returned ${Array.isArray(answer) ? 'an array' : `a ${typeof answer}`}`
}
