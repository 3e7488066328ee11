/*
 * A view of a request for @fastify/jwt, in which one token is the only credential.
 *
 * @fastify/jwt reads its token from `request.headers`. An app, or a schema for headers, may have set another token there
 * (`request.headers = ...` is a documented setter). So the token is not written into the request: no hook, schema or other verification
 * can change the token in the view.
 */
import type { FastifyRequest } from 'fastify'
import type { Claims } from './claims'
import { frozenCopy } from './frozen-data'

const kView = Symbol('fastify-ws-auth.view')

/** The error that `formatUser` threw, in place of a user. */
export class FormatFailure {
  readonly error: unknown

  constructor (error: unknown) {
    this.error = error
  }
}

/** A view of one request. All properties except the headers and the user are those of the request, also when they are set. */
export class TokenView implements ProxyHandler<FastifyRequest> {
  readonly request: FastifyRequest
  /** The verified claims, before `trusted` and `formatUser` got them; `null` until they are recorded. */
  verified: Claims | null = null
  readonly #token: string
  /** The request decorator that @fastify/jwt sets. The view ignores it, because the user is not admitted yet. */
  readonly #userDecorator: string
  #headers: FastifyRequest['headers'] | undefined

  constructor (request: FastifyRequest, token: string, userDecorator: string) {
    this.request = request
    this.#token = token
    this.#userDecorator = userDecorator
  }

  get (request: FastifyRequest, name: PropertyKey): unknown {
    if (name === 'headers') return (this.#headers ??= { ...request.headers, authorization: `Bearer ${this.#token}` })
    return name === kView ? this : Reflect.get(request, name)
  }

  set (request: FastifyRequest, name: PropertyKey, value: unknown): boolean {
    return name === this.#userDecorator || Reflect.set(request, name, value)
  }

  /** Keeps a copy of the verified claims, because the functions of the app may change them. */
  record (claims: unknown): void {
    this.verified = frozenCopy(claims as Claims)
  }
}

/** The view with which @fastify/jwt calls a function of the app; `undefined` if the app itself caused the call. */
export function viewOf (request: FastifyRequest): TokenView | undefined {
  return (request as { [kView]?: TokenView })[kView]
}
