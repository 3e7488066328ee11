/*
 * The groups of a token, such as a tenant, a device or a team: names by which connections are found, revoked and disconnected.
 */
import { ignoreRejection } from '../base/thenable'
import type { Claims } from './claims'

/** Reads the groups of claims: the `groups` option. */
export type ReadGroups = (claims: Claims) => unknown

/** All tokens without groups share one list. */
export const NO_GROUPS: readonly string[] = Object.freeze([])

/**
 * Reads the groups, each once.
 *
 * @param read the `groups` option. Default: no groups
 * @throws TypeError if the option returns anything but an array of strings. What the option throws
 */
export function groupsOf (claims: Claims, read: ReadGroups | undefined): readonly string[] {
  if (read === undefined) return NO_GROUPS
  const groups = read(claims)
  ignoreRejection(groups)
  if (!Array.isArray(groups) || !groups.every((group) => typeof group === 'string')) throw new TypeError('"groups" option must return an array of strings')
  return groups.length === 0 ? NO_GROUPS : Object.freeze([...new Set(groups as string[])])
}
