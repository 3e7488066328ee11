/*
 * The options with which this plugin registers @fastify/jwt. The app's functions in them (secret, `trusted`, `formatUser`) are wrapped, so
 * that a wrong answer is a refusal and the verified claims are recorded. They are called with the app's own request.
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
 * Wraps the functions in the options. The secret function refuses the token (401) if there is no key: @fastify/jwt would answer 500 for
 * `undefined`, and would never answer for a function. `trusted` records the claims, because @fastify/jwt returns only the result of
 * `formatUser`. `formatUser` does not throw, because @fastify/jwt does not catch its errors after it fetched a key.
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

/** The claims in an answer of the library: the whole answer, or its `payload` if `complete` is truthy. */
export function payloadOf (answer: unknown, { verify }: Pick<FastifyJWTOptions, 'verify'>): Claims {
  return (verify?.complete ? (answer as { payload?: unknown } | null)?.payload : answer) as Claims
}

function recorders ({ trusted, formatUser, verify }: FastifyJWTOptions): Pick<FastifyJWTOptions, 'trusted' | 'formatUser'> {
  /** The last answer for a handshake, if `formatUser` gets it next, within this turn. `formatUser` gets no request, and a cache has one answer for all. */
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
    // @fastify/jwt calls `formatUser` in this callback, and another answer may have come in between.
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
  // fast-jwt would answer an empty key as an outage.
  const isEmpty = key == null || (key as { length?: unknown }).length === 0
  if (isEmpty || typeof key === 'function') throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'there is no such key' })
  if (typeof key === 'string') return key
  if (!Buffer.isBuffer(key)) throw new TypeError('the secret function of @fastify/jwt must give a string (PEM) or a Buffer')
  // @fastify/jwt keeps the verifier of a string key, and builds a new one each time for a Buffer.
  return key.includes('-----BEGIN ') ? key.toString() : key
}

/** Whether the key is fixed. Only @fastify/jwt can call a secret function, and only with a request. */
export function isStatic (own: FastifyJWTOptions): boolean {
  return typeof keyOf(own) !== 'function'
}

function hasPublic (secret: FastifyJWTOptions['secret']): secret is Extract<FastifyJWTOptions['secret'], { public: unknown }> {
  return typeof secret === 'object' && 'public' in secret
}

/** The key that verifies, or a function that finds it. */
export function keyOf ({ secret }: FastifyJWTOptions): unknown {
  return hasPublic(secret) ? secret.public : secret
}

/** RFC 7518, 3.2: an HMAC key must be as long as its hash. A shorter key can be guessed from any token. */
export function warnOfShortSecret (own: FastifyJWTOptions, log: FastifyBaseLogger): void {
  const short = missingBytes(own)
  if (short !== null) log.warn(`the secret of @fastify/jwt has ${short.bytes} bytes: less than the ${short.needed} of its hash, so it can be guessed from a token`)
}

/** How many bytes a shared secret has and needs; `null` if it has as many, or is none. */
export function missingBytes (own: FastifyJWTOptions): { readonly bytes: number, readonly needed: number } | null {
  const { verify, sign } = own
  const key = keyOf(own)
  if ((typeof key !== 'string' && !Buffer.isBuffer(key)) || key.includes('-----BEGIN ')) return null
  const algorithms = verify?.algorithms ?? [sign?.algorithm ?? 'HS256']
  const needed = Math.max(...algorithms.map((algorithm) => /^HS(\d+)$/.exec(algorithm)?.[1]).map((bits) => Number(bits ?? 0) / 8))
  const bytes = Buffer.byteLength(key)
  return bytes < needed ? { bytes, needed } : null
}

/** @throws TypeError for a public key that is given as a shared secret, because @fastify/jwt would want to sign with it */
export function assertNoPublicKey ({ secret }: FastifyJWTOptions): void {
  if ((typeof secret !== 'string' && !Buffer.isBuffer(secret)) || !/-----BEGIN (?:RSA )?(?:PUBLIC KEY|CERTIFICATE)-----/.test(secret.toString('latin1'))) return
  throw new TypeError('"jwt.secret" option must be { public: <the key> } for a public key or a certificate')
}
