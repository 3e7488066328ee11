/*
 * The roles and scopes in claims, under the names that most issuers give them: the defaults of the options `roles` and `scopes`.
 */
import type { Claims } from './claims'

/** `claims.roles`, else `claims.role`. One string is one role. */
export function rolesOf (claims: Claims): readonly string[] {
  return stringsOf(Object.hasOwn(claims, 'roles') ? claims.roles : claims.role)
}

/** `claims.scope` (RFC 8693, 4.2), else `claims.scp`, else `claims.permissions`. Spaces separate the scopes of one string. */
export function scopesOf (claims: Claims): readonly string[] {
  const name = ['scope', 'scp'].find((name) => Object.hasOwn(claims, name)) ?? 'permissions'
  const value = claims[name]
  return typeof value === 'string' ? value.split(' ') : stringsOf(value)
}

function stringsOf (value: unknown): readonly string[] {
  if (typeof value === 'string') return [value]
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
}
