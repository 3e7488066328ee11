/*
 * What a user may do: the last check of an attempt. The user must have one of the route's roles and all of its scopes, and the route's
 * `authorize` must return true.
 */
import type { FastifyRequest } from 'fastify'
import { WsAuthError } from '../base/errors'
import { namesOf } from '../base/sent-names'
import { ignoreRejection, thenRead } from '../base/thenable'
import type { Authentication, AuthenticationContext } from './authentication'

export function authorize ({ request, route, claims, user }: Authentication, { options }: AuthenticationContext): void | PromiseLike<void> {
  // An anonymous connection: an optional route checks nothing else, and a token in a message is checked later.
  if (claims === null) return
  if (route.roles !== null) assertRole(route.roles, listOf('roles', options.roles(claims)))
  if (route.scopes !== null) assertScopes(route.scopes, listOf('scopes', options.scopes(claims)))
  if (route.authorize === undefined) return
  return thenRead(route.authorize(user as FastifyRequest['user'], request), (isAuthorized) => {
    if (isAuthorized !== true) throw forbidden('authorize: it did not return true')
  })
}

function assertRole (asked: readonly string[], has: readonly string[]): void {
  if (asked.some((role) => has.includes(role))) return
  throw forbidden(`roles: the route needs one of ${namesOf(asked)}, and the user has ${nearest('roles', asked, has)}`)
}

function assertScopes (asked: readonly string[], has: readonly string[]): void {
  const missing = asked.filter((scope) => !has.includes(scope))
  if (missing.length > 0) throw forbidden(`scopes: the route needs ${namesOf(asked)}, and the user lacks ${namesOf(missing)}${has.length === 0 ? `: ${nearest('scopes', asked, has)}` : ''}`)
}

/** What the user has in place of what was asked. Names that only the token has are not shown. */
function nearest (option: 'roles' | 'scopes', asked: readonly string[], has: readonly string[]): string {
  if (has.length === 0) return `no ${option} at all (the "${option}" option says in which claim they are)`
  const names = new Set(asked.map((name) => name.toLowerCase()))
  return has.some((name) => typeof name === 'string' && names.has(name.toLowerCase())) ? 'one that differs in upper and lower case alone' : 'none of them'
}

function forbidden (cause: string): WsAuthError {
  return new WsAuthError('WS_AUTH_FORBIDDEN', { cause })
}

function listOf (option: string, value: unknown): readonly string[] {
  ignoreRejection(value)
  if (!Array.isArray(value)) throw new TypeError(`"${option}" option must return an array`)
  return value
}
