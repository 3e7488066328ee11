/*
 * What a user may do, asked once who the user is known: one of the route's roles, all of its scopes. The last word of a
 * route, `authorize`, is asked by the handshake.
 */

/** What a route asks for. */
export interface Requirements {
  /** Roles of which one is enough, or `null`. */
  readonly roles: readonly string[] | null
  /** Scopes of which all are needed, or `null`. */
  readonly scopes: readonly string[] | null
}

/** Whether the roles that somebody has are enough. */
export function hasRole ({ roles }: Requirements, has: readonly string[]): boolean {
  return roles === null || roles.some((role) => has.includes(role))
}

/** Whether the scopes that somebody has are enough. */
export function hasScopes ({ scopes }: Requirements, has: readonly string[]): boolean {
  return scopes === null || scopes.every((scope) => has.includes(scope))
}
