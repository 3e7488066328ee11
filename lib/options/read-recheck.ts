/*
 * Reads the option `recheck`.
 */
import { checkKeys, invalid, readDelay, readFunction, readObject } from '../base/checks'
import type { Recheck } from './complete-options'

export function readRecheck (value: unknown): Recheck | null {
  if (value === undefined || value === false) return null
  const recheck = readObject('recheck', value, 'false or { every, check, onFailure }')
  checkKeys(recheck, 'recheck.', ['every', 'check', 'onFailure'])
  const { onFailure = 'keep' } = recheck
  if (onFailure !== 'keep' && onFailure !== 'close') invalid('recheck.onFailure', '\'keep\' or \'close\'')
  return {
    every: readDelay('recheck.every', recheck.every),
    check: readFunction<Recheck['check']>('recheck.check', recheck.check) ?? invalid('recheck.check', 'a function'),
    onFailure
  }
}
