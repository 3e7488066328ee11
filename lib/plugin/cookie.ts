/*
 * @fastify/cookie, and the cookie of the token.
 */
import fastifyCookie from '@fastify/cookie'
import type { FastifyInstance } from 'fastify'
import type { CompleteOptions, TokenSources } from '../options/complete-options'
import type { FoundJwt } from './jwt'

/** Registers @fastify/cookie if a cookie is asked for: @fastify/cookie cannot be loaded everywhere (Jest). */
export async function registerCookie (app: FastifyInstance, { cookie, token }: CompleteOptions): Promise<void> {
  if (app.hasPlugin('@fastify/cookie')) {
    if (cookie !== undefined) app.log.warn('the "cookie" option of fastify-ws-auth is not used: @fastify/cookie is registered already')
  } else if (token.cookie !== null || cookie !== undefined) {
    await app.register(fastifyCookie, cookie ?? {})
  }
}

/** Completes the options: by default, the cookie of the token is the cookie of @fastify/jwt. */
export function withCookie (app: FastifyInstance, options: CompleteOptions, jwt: FoundJwt | null): CompleteOptions {
  const cookie = jwt?.decorator.cookie
  const byDefault = { name: cookie?.cookieName ?? 'token', signed: cookie?.signed ?? false }
  const token = { ...options.token, cookie: options.token.cookie === undefined ? byDefault : options.token.cookie }
  assertCookie(app, token)
  return { ...options, token }
}

/** @throws TypeError if @fastify/cookie, as it is registered, cannot read the cookie of these sources */
export function assertCookie (app: FastifyInstance, { cookie }: TokenSources): void {
  if (cookie == null) return
  if (!app.hasDecorator('parseCookie')) {
    throw new TypeError('"cookie" option must be given where a route asks for a cookie and the plugin does not')
  }
  if (cookie.signed && !app.hasRequestDecorator('unsignCookie')) {
    throw new TypeError('"cookie" option must have a secret: the cookie of the token is signed')
  }
}
