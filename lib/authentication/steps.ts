/*
 * A list of checks, made one after the other. Each either returns or throws a refusal; one that has to wait returns a
 * promise, and only then is there one.
 */
import type { Credential } from '../credentials/found'
import { WsAuthError, wsAuthErrors } from '../base/errors'
import { errorWithoutToken, textWithoutToken } from '../base/redaction'

/** What the checks are made of. */
export interface Attempt {
  readonly credential: Credential | null
  /** Whether nobody waits for it any more. */
  readonly isOver: boolean
}

/** How many properties a refusal has to which nobody has added one. */
const OWN_KEYS = Object.keys(new WsAuthError('WS_AUTH_FORBIDDEN')).length

/** One check of an attempt. */
export type Step<A, S> = (attempt: A, services: S) => void | PromiseLike<void>

/**
 * Makes all checks and answers with the first refusal, or with `null`. There is a promise only if a step has to wait, and
 * no step is made any more once nobody waits for the answer.
 */
export function runSteps<A extends Attempt, S> (attempt: A, services: S, steps: ReadonlyArray<Step<A, S>>, from = 0): WsAuthError | null | Promise<WsAuthError | null> {
  try {
    for (let i = from; i < steps.length && !attempt.isOver; i++) {
      const waiting = steps[i]?.(attempt, services)
      if (waiting !== undefined) {
        return Promise.resolve(waiting).then(() => runSteps(attempt, services, steps, i + 1), (error: unknown) => refusalOf(error, attempt))
      }
    }
    // Nobody reads it then, but what was not checked to the end must not look like it.
    return attempt.isOver ? new WsAuthError('WS_AUTH_UNAVAILABLE') : null
  } catch (error) {
    return refusalOf(error, attempt)
  }
}

/** What the app's own functions throw is not the client's to know, and what they throw it with is not the log's. */
function refusalOf (error: unknown, { credential }: Attempt): WsAuthError {
  const token = credential?.token ?? ''
  try {
    return readRefusal(error, token)
  } catch {
    return new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: errorWithoutToken(error, token) })
  }
}

/** Throws where the error cannot be read, or has a code that is none of ours. */
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
