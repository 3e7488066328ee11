/*
 * A request as @fastify/jwt sees it while it verifies one token: that token is the only credential in it.
 *
 * @fastify/jwt looks for its token in `request.headers`. There an app, or a schema for headers, may have laid another token over
 * what the client sent (`request.headers = ...` is a documented setter). So nothing is written into the request and hoped to be
 * found: @fastify/jwt gets a view of it, and no hook, schema or other verification under way can change what it finds.
 */
import type { FastifyRequest } from 'fastify'
import type { Claims } from './claims'
import { frozenCopy } from './frozen-data'

const kView = Symbol('fastify-ws-auth.view')

/** What `formatUser` threw, in place of the user that it did not make. */
export class FormatFailure {
  readonly error: unknown

  constructor (error: unknown) {
    this.error = error
  }
}

/** One view of one request. Everything but the headers and the user is the request's own, and is written through to it. */
export class TokenView implements ProxyHandler<FastifyRequest> {
  readonly request: FastifyRequest
  /** What the verifier answered, before `trusted` and `formatUser` saw it; `null` until it is recorded. */
  verified: Claims | null = null
  readonly #token: string
  /** The request decorator that @fastify/jwt sets: it is not set before the user is known to be admitted. */
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

  /** Keeps a copy of the claims that the verifier answered: the functions of the app may change what they are given. */
  record (claims: unknown): void {
    this.verified = frozenCopy(claims as Claims)
  }
}

/** The view behind a request that @fastify/jwt calls a function of the app with; `undefined` for a request of the app's own. */
export function viewOf (request: FastifyRequest): TokenView | undefined {
  return (request as { [kView]?: TokenView })[kView]
}
