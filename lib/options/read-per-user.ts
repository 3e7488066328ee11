/*
 * Reads `limits.perUser`: a number for each instance, or an object for all instances together.
 */
import { checkKeys, invalid, isObject, readCount, readInteger } from '../base/checks'
import type { CompleteOptions } from './complete-options'

/** The script of Redis reads all slots of a user now and then. */
const MAX_PER_USER = 10_000

/** @throws TypeError `"limits.perUser" option must be <what>` */
export function readPerUser (value: unknown): CompleteOptions['limits']['perUser'] {
  if (!isObject(value)) return readCount('limits.perUser', value, Infinity)
  checkKeys(value, 'limits.perUser.', ['max', 'scope', 'whenDown'])
  const { scope, whenDown = 'local' } = value
  if (scope !== 'cluster') invalid('limits.perUser.scope', '\'cluster\': a plain number as limits.perUser counts on each instance')
  if (whenDown !== 'local' && whenDown !== 'reject') invalid('limits.perUser.whenDown', '\'local\' or \'reject\'')
  return { max: readInteger('limits.perUser.max', value.max, 1, MAX_PER_USER), scope, whenDown }
}
