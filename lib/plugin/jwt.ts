/*
 * @fastify/jwt, registered here or by the app, and the verifier that is made of it.
 */
import fastifyJwt from '@fastify/jwt'
import type { JWT } from '@fastify/jwt'
import type { FastifyInstance } from 'fastify'
import type { CompleteOptions } from '../options/complete-options'
import { cachingVerifier } from '../token/caching-verifier'
import { assertNoPublicKey, warnOfShortSecret, withSafeSecret } from '../token/jwt-secret'
import { createJwtVerifier } from '../token/jwt-verifier'
import { createCustomVerifier } from '../token/custom-verifier'
import { createEventVerifier, eventVerifierOf } from '../token/event-verifier'
import type { EventAudience } from '../token/event-verifier'
import type { Verifier, VerifyToken } from '../token/verifier'

/** An @fastify/jwt that is registered. */
export interface FoundJwt {
  readonly decorator: JWT
  /** The request decorator that verifies. */
  readonly method: string
  /** The request decorator that it sets. */
  readonly userDecorator: string
}

/** Registers @fastify/jwt with the `jwt` option. @throws TypeError if the option contradicts what the app has registered */
export async function registerJwt (app: FastifyInstance, { jwt, jwtNamespace, verify }: CompleteOptions): Promise<void> {
  if (jwt !== undefined) {
    if ('secret' in jwt && jwt.secret === undefined) throw new TypeError('"jwt.secret" option must be given, and it is undefined: is an environment variable missing?')
    if (app.hasDecorator('jwt')) throw new TypeError('"jwt" option must be left out: @fastify/jwt is registered already')
    const { decoratorName = 'user' } = jwt as { decoratorName?: string }
    // @fastify/jwt would throw outside of any handler, and the start of the app would hang until its timeout.
    if (app.hasRequestDecorator(decoratorName)) throw new TypeError(`the request decorator "${decoratorName}" must be left to @fastify/jwt: the app has it already`)
    assertNoPublicKey(jwt)
    await app.register(fastifyJwt, withSafeSecret(jwt))
    warnOfShortSecret(jwt, app.log)
  } else if (verify === undefined && !app.hasDecorator('jwt')) {
    if (jwtNamespace !== undefined) throw new TypeError('"jwtNamespace" option must be left out, because the app has registered no @fastify/jwt')
    throw new TypeError('"jwt" option must be given, unless the app registers @fastify/jwt before or "verify" is given')
  }
}

/** The @fastify/jwt in use, registered here or by the app, or `null`. @throws TypeError for a wrong namespace */
export function findJwt (app: FastifyInstance, { jwt, jwtNamespace, verify }: CompleteOptions): FoundJwt | null {
  if (!app.hasDecorator('jwt')) return null
  const namespace = jwtNamespace ?? jwt?.namespace
  // `verify` may choose among namespaces, by the issuer of a token.
  if (namespace === undefined && verify !== undefined && !('verify' in app.jwt)) return null
  const decorator = namespace === undefined ? app.jwt : (app.jwt as unknown as Record<string, JWT | undefined>)[namespace]
  if (typeof decorator?.verify !== 'function') {
    throw new TypeError(`"jwtNamespace" option must be a namespace of the @fastify/jwt that is registered${namespace === undefined ? '' : `, not '${namespace}'`}`)
  }
  const method = jwt?.jwtVerify ?? (namespace === undefined ? 'jwtVerify' : `${namespace}JwtVerify`)
  if (!app.hasRequestDecorator(method)) {
    throw new TypeError(`"jwtNamespace" option must be a namespace with the default name of its method, ${method}`)
  }
  return { decorator, method, userDecorator: (decorator.options as unknown as { decoratorName: string }).decoratorName }
}

/** The verifier of the app: the `verify` option or @fastify/jwt, with a cache if the `tokenCache` option is on. */
export function createVerifier (app: FastifyInstance, options: CompleteOptions, jwt: FoundJwt | null): Verifier {
  const verifier = options.verify === undefined && jwt !== null
    ? createJwtVerifier(app, jwt.decorator, jwt.method, options.jwt)
    : createCustomVerifier(options.verify as NonNullable<CompleteOptions['verify']>)
  return options.tokenCache === null ? verifier : cachingVerifier(verifier, options.tokenCache)
}

/** The verifier of security event tokens: that of the app, with the issuer and the audience of the `signals` option. */
export function createSignalVerifier (options: CompleteOptions, signals: EventAudience, verifier: Verifier, jwt: FoundJwt | null): VerifyToken {
  return options.verify === undefined && jwt !== null
    ? createEventVerifier(jwt.decorator, jwt.method, options.jwt, verifier.rules, signals)
    : eventVerifierOf(verifier)
}
