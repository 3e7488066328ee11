/*
 * The `claims` option: a schema that the claims of each token must match. The validator of the app that registers the plugin compiles
 * it once, at start. The validator of a route's scope is not used: it may be another, and may accept any claims.
 */
import type { FastifyInstance } from 'fastify'
import type { Claims } from '../token/claims'
import { WsAuthError } from '../base/errors'
import { validatorCompilerOf } from '../base/fastify-internals'
import { copyData } from '../token/frozen-data'
import { isThenable } from '../base/thenable'

type Validate = (claims: unknown) => unknown

/** The schema of an app. Without a schema, all claims match. */
export class ClaimsSchema {
  readonly #schema: object | undefined
  #validate: Validate | null = null

  constructor (schema: object | undefined) {
    this.#schema = schema
  }

  /** @throws TypeError if the validator of the app cannot compile the schema, or cannot run it */
  compile (app: FastifyInstance): void {
    if (this.#schema === undefined) return
    try {
      const validate: unknown = validatorCompilerOf(app)?.({ schema: this.#schema, method: 'GET', url: '/', httpPart: 'claims' })
      if (typeof validate !== 'function') throw new TypeError('it compiled no function')
      this.#validate = validate as Validate
      // A compiler for another kind of schema may fail only when it runs: better at start than at each handshake.
      if (SAMPLES.every((sample) => cannotRun(validate as Validate, sample))) throw new TypeError('it cannot be run')
    } catch (error) {
      throw new TypeError('"claims" option must be a schema that the validator of the app can compile and run', { cause: error })
    }
  }

  /**
   * Checks a copy of the claims, because a validator may coerce, remove or add values.
   *
   * @throws WsAuthError `WS_AUTH_TOKEN_INVALID` if they do not match. The errors of the validator
   */
  assert (claims: Claims): void | PromiseLike<void> {
    if (this.#schema === undefined) return
    if (this.#validate === null) throw new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: new Error('the app is not ready yet') })
    try {
      const result = this.#validate(copyData(claims))
      const { errors } = this.#validate as { errors?: unknown }
      return isThenable(result) ? Promise.resolve(result).then((later) => assertValid(later, null), rethrow) : assertValid(result, errors)
    } catch (error) {
      rethrow(error)
    }
  }
}

/** Claims to try a validator with. A validator written by hand may fail if claims are missing. */
const SAMPLES: readonly Claims[] = [{}, { sub: '', iss: '', aud: [], exp: 0, iat: 0, jti: '', roles: [], scope: '' }]

/** Whether a validator is broken. A validator that refuses the sample is not. */
function cannotRun (validate: Validate, sample: Claims): boolean {
  try {
    const result = validate(copyData(sample))
    if (isThenable(result)) Promise.resolve(result).catch(() => {})
    return false
  } catch (error) {
    return error instanceof TypeError && !isMismatch(error)
  }
}

/** Validators return `false`, or the errors, */
function assertValid (result: unknown, errors: unknown): void {
  const isWrong = result === false || result instanceof Error ||
    (typeof result === 'object' && result !== null && 'error' in result && result.error != null)
  if (isWrong) throw mismatch(errors)
}

/** or throw them (Ajv with `$async`). */
function rethrow (error: unknown): never {
  throw isMismatch(error) ? mismatch((error as { errors?: unknown }).errors) : error
}

function isMismatch (error: unknown): boolean {
  // An AggregateError has a list of errors too, but not about the claims.
  return typeof error === 'object' && error !== null && !(error instanceof AggregateError) && ('validation' in error || 'errors' in error)
}

/** @param errors the list of Ajv, if it is the validator: it names a place in the claims, and what the schema says of it, but no value */
function mismatch (errors: unknown): WsAuthError {
  const [first] = Array.isArray(errors) ? errors as unknown[] : []
  const { instancePath, message } = (first ?? {}) as Record<string, unknown>
  const detail = typeof instancePath === 'string' && typeof message === 'string' ? `: ${instancePath === '' ? 'they' : instancePath} ${message}` : ''
  return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: `its claims do not match the "claims" schema${detail}` })
}
