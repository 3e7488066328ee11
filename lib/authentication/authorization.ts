/*
 * What a user may do, asked once who the user is known: one of the route's roles, all of its scopes. The last word of a
 * route, `authorize`, is asked by the handshake.
 */

/** Whether the roles that somebody has are enough. */
export function hasRole (roles: readonly string[], has: readonly string[]): boolean {
  return roles.some((role) => has.includes(role))
}

/** The scopes of those asked for that somebody does not have. */
export function missingScopes (scopes: readonly string[], has: readonly string[]): string[] {
  return scopes.filter((scope) => !has.includes(scope))
}
