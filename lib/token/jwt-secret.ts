/*
 * The options that this plugin registers @fastify/jwt with, made safe: what its secret function may answer, and what its
 * `trusted` lets us see. The app's own functions are called with the app's own request.
 */
import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import type { FastifyJWTOptions } from '@fastify/jwt'
import type { Claims } from './claims'
import { WsAuthError } from '../base/errors'
import { isThenable } from '../base/thenable'
import { FormatFailure, viewOf } from './token-view'

type KeyCallback = (error: unknown, key?: unknown) => void
type SecretFunction = (request: FastifyRequest, token: unknown, callback: KeyCallback) => unknown
type Trusted = NonNullable<FastifyJWTOptions['trusted']>

/**
 * The options with a secret function made safe: a key that does not exist is the token's fault (401), where @fastify/jwt
 * would take `undefined` for a bug (500) and a function for a key fetcher (it never answers). `trusted` is wrapped to record what
 * was verified, because @fastify/jwt answers only with what `formatUser` makes of it. `formatUser` is wrapped not to throw, because
 * @fastify/jwt does not catch it once a key was fetched.
 */
export function withSafeSecret (own: FastifyJWTOptions): FastifyJWTOptions {
  const { secret } = own
  const key = hasPublic(secret) ? secret.public : secret
  if (typeof key !== 'function') return own
  const safe = safeSecret(key as SecretFunction) as FastifyJWTOptions['secret']
  return {
    ...own,
    secret: hasPublic(secret) ? { ...secret, public: safe } as typeof secret : safe,
    ...recorders(own)
  }
}

/** The claims in what the verifier answered: all of it, or with `complete` a part. The verifier asks whether `complete` is truthy. */
export function payloadOf (answer: unknown, { verify }: Pick<FastifyJWTOptions, 'verify'>): Claims {
  return (verify?.complete ? (answer as { payload?: unknown } | null)?.payload : answer) as Claims
}

function recorders ({ trusted, formatUser, verify }: FastifyJWTOptions): Pick<FastifyJWTOptions, 'trusted' | 'formatUser'> {
  /** What was verified for a handshake of ours, if `formatUser` is called for it next, within this turn: it is told of no request, and a verifier cache has one answer for all. */
  let next: unknown = null
  const recording = recordingTrusted({ trusted, verify }, (answer) => { next = answer })
  if (formatUser === undefined) return { trusted: recording }
  const safe = (payload: object): unknown => {
    const isOurs = next === payload
    next = null
    if (!isOurs) return formatUser(payload as never)
    try {
      return formatUser(payload as never)
    } catch (error) {
      return new FormatFailure(error)
    }
  }
  return { trusted: recording, formatUser: safe as typeof formatUser }
}

function recordingTrusted ({ trusted, verify }: Pick<FastifyJWTOptions, 'trusted' | 'verify'>, onNext: (answer: unknown) => void): Trusted {
  return (request, answer) => {
    const view = viewOf(request)
    view?.record(payloadOf(answer, { verify }))
    const ours = view === undefined ? null : answer
    const isTrusted = trusted === undefined ? true : trusted(view?.request ?? request, answer)
    if (!isThenable(isTrusted)) {
      onNext(ours)
      return isTrusted
    }
    // @fastify/jwt calls `formatUser` in the callback that it gives here: another one may have come since the answer was given.
    const then: PromiseLike<boolean>['then'] = (onDone, onFailed) => Promise.resolve(isTrusted as PromiseLike<boolean>).then((later) => {
      onNext(ours)
      return (onDone as (isTrusted: boolean) => never)(later)
    }, onFailed)
    return { then } as Promise<boolean>
  }
}

function safeSecret (secret: SecretFunction): SecretFunction {
  return (request, token, callback) => {
    const answer = secret(viewOf(request)?.request ?? request, token, (error, key) => {
      if (error != null) callback(error)
      else answerWith(callback, key)
    })
    return isThenable(answer) ? answer.then(usableKey) : answer
  }
}

function answerWith (callback: KeyCallback, key: unknown): void {
  let usable: unknown
  try {
    usable = usableKey(key)
  } catch (error) {
    callback(error)
    return
  }
  callback(null, usable)
}

function usableKey (key: unknown): string | Buffer {
  if (key == null || typeof key === 'function') throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'there is no such key' })
  if (typeof key === 'string') return key
  if (!Buffer.isBuffer(key)) throw new TypeError('the secret function of @fastify/jwt must give a string (PEM) or a Buffer')
  // A verifier is kept for a key that is a string, and built again each time for one that is not.
  return key.includes('-----BEGIN ') ? key.toString() : key
}

/** Whether the key is there from the start. A function is asked for it with the request, by @fastify/jwt alone. */
export function isStatic ({ secret }: FastifyJWTOptions): boolean {
  return typeof (hasPublic(secret) ? secret.public : secret) !== 'function'
}

function hasPublic (secret: FastifyJWTOptions['secret']): secret is Extract<FastifyJWTOptions['secret'], { public: unknown }> {
  return typeof secret === 'object' && 'public' in secret
}

/** RFC 7518, 3.2: an HMAC key is at least as long as its hash. A short one can be guessed from any token. */
export function warnOfShortSecret ({ secret, verify, sign }: FastifyJWTOptions, log: FastifyBaseLogger): void {
  const key = hasPublic(secret) ? secret.public : secret
  if ((typeof key !== 'string' && !Buffer.isBuffer(key)) || key.includes('-----BEGIN ')) return
  const algorithms = verify?.algorithms ?? [sign?.algorithm ?? 'HS256']
  const needed = Math.max(...algorithms.map((algorithm) => /^HS(\d+)$/.exec(algorithm)?.[1]).map((bits) => Number(bits ?? 0) / 8))
  const bytes = Buffer.byteLength(key)
  if (bytes < needed) log.warn(`the secret of @fastify/jwt has ${bytes} bytes: less than the ${needed} of its hash, it can be guessed from a token`)
}
