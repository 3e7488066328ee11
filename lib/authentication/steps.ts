/*
 * Runs a list of checks, one after the other. A check returns nothing, or throws or returns a refusal; a check that waits returns a promise,
 * and only then does the list.
 */
import type { Credential } from '../credentials/found'
import { WsAuthError, wsAuthErrors } from '../base/errors'
import { errorWithoutToken, textWithoutToken } from '../base/redaction'

/** What a list of checks is about. */
export interface Attempt {
  readonly credential: Credential | null
  /** Whether its result is no longer needed. */
  readonly isOver: boolean
}

/** How many properties a new refusal has. The app may add more. */
const OWN_KEYS = Object.keys(new WsAuthError('WS_AUTH_FORBIDDEN')).length

/** One check of an attempt. */
export type Step<A, C> = (attempt: A, context: C) => void | WsAuthError | PromiseLike<void>

/** Runs all checks. Returns the first refusal, or `null`. Stops when the attempt is over. */
export function runSteps<A extends Attempt, C> (attempt: A, context: C, steps: ReadonlyArray<Step<A, C>>, from = 0): WsAuthError | null | Promise<WsAuthError | null> {
  try {
    for (let i = from; i < steps.length && !attempt.isOver; i++) {
      const answer = steps[i]?.(attempt, context)
      if (answer === undefined) continue
      if (answer instanceof WsAuthError) return withoutSecrets(answer, attempt)
      return Promise.resolve(answer).then(() => runSteps(attempt, context, steps, i + 1), (error: unknown) => withoutSecrets(error, attempt))
    }
    // The result is no longer needed, but an attempt that was not checked to the end must not look admitted.
    return attempt.isOver ? new WsAuthError('WS_AUTH_UNAVAILABLE') : null
  } catch (error) {
    return withoutSecrets(error, attempt)
  }
}

/** Makes a refusal of any error. The client learns nothing of an error of the app, and the log gets it without the token. */
export function withoutSecrets (error: unknown, { credential }: Pick<Attempt, 'credential'>): WsAuthError {
  const token = credential?.token ?? ''
  try {
    return readRefusal(error, token)
  } catch {
    return new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: errorWithoutToken(error, token) })
  }
}

/** Throws if the error cannot be read, or has a code that is not in our table. */
function readRefusal (error: unknown, token: string): WsAuthError {
  if (!(error instanceof WsAuthError)) return new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: errorWithoutToken(error, token) })
  const cause = causeWithoutToken(error.cause, token)
  const isOurs = Object.hasOwn(wsAuthErrors, error.code) && error.statusCode === wsAuthErrors[error.code].statusCode
  if (isOurs && cause === error.cause && Object.keys(error).length === OWN_KEYS) return error
  return new WsAuthError(error.code, { cause })
}

function causeWithoutToken (cause: unknown, token: string): unknown {
  if (cause === undefined) return undefined
  return typeof cause === 'string' ? textWithoutToken(cause, token) : errorWithoutToken(cause, token)
}
