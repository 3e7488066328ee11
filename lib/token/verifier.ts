/*
 * From a token to claims that can be trusted. This folder imports from base alone. Start here: a verifier is `jwt-verifier.ts` or
 * `custom-verifier.ts`, and `caching-verifier.ts` remembers the answers of either.
 */
import type { FastifyRequest } from 'fastify'
import { isThenable } from '../base/thenable'
import { WsAuthError } from '../base/errors'
import type { ClaimRules, Claims } from './claims'
import { toRefusal } from './verifier-errors'

/** What a verified token says. Both are frozen copies for one caller; they are one object unless `formatUser` made another. */
export interface Verified {
  readonly claims: Claims
  readonly user: unknown
}

/** What the caller of a verifier tells it beside the token and the request. */
export interface VerifyContext {
  /** Aborts when the caller no longer waits for the answer. */
  readonly signal: AbortSignal
}

/**
 * Answers without a promise if it can, and returns a refusal then: to throw it once more through all callers would cost time in each
 * refusal. Throws or rejects only with a {@link WsAuthError}.
 */
export type VerifyToken = (token: string, request: FastifyRequest, context: VerifyContext) => Verified | WsAuthError | Promise<Verified>

/** A verifier, and the rules for the claims that it lets through. */
export interface Verifier {
  readonly verify: VerifyToken
  readonly rules: ClaimRules
  /** Whether a function of the app is given the request. Else the request is not read. */
  readonly needsRequest: boolean
}

/**
 * Calls a verifier and reads its answer. Makes a promise only if the verifier does.
 *
 * @param first is asked about an error before {@link toRefusal}; `null` if the error is not for it
 * @returns a refusal for any error, which the promise rejects with
 */
export function settle<T> (token: string, ask: () => T | PromiseLike<T>, read: (answer: T) => Verified, first?: (error: unknown, token: string) => WsAuthError | null): Verified | WsAuthError | Promise<Verified> {
  const refusalOf = (error: unknown): WsAuthError => first?.(error, token) ?? toRefusal(error, token)
  try {
    const answer = ask()
    return isThenable(answer) ? Promise.resolve(answer).then(read).catch((error: unknown) => { throw refusalOf(error) }) : read(answer)
  } catch (error) {
    return refusalOf(error)
  }
}

/** Waits for an answer. @throws WsAuthError the refusal */
export async function verified (answer: ReturnType<VerifyToken>): Promise<Verified> {
  const settled = await answer
  if (settled instanceof WsAuthError) throw settled
  return settled
}
