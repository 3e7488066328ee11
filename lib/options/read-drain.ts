/*
 * Reads the option `drain`, and the argument of `app.wsAuth.drain`.
 */
import { invalid, isDelay, noSuchOption, readArgument, readObject } from '../base/checks'
import { GOING_AWAY, isReason, isSendableCode, MAX_REASON_BYTES } from '../base/close-codes'
import type { DrainOptions } from './public-options'

/** The complete {@link DrainOptions}. */
export type CompleteDrain = Required<DrainOptions>

const WITHIN = 'an integer of milliseconds from 0 to 2147483647'
const CODE = 'a close code that may be sent'
const REASON = `a string of at most ${MAX_REASON_BYTES} bytes`

/** @throws TypeError `"<option>" option must be <what>` */
export function readDrain (value: unknown): CompleteDrain | null {
  if (value === undefined || value === false) return null
  return read(readObject('drain', value, 'false or { within, code, reason }'), (key, what) => invalid(`drain.${key}`, what))
}

/** @throws TypeError if the value is not {@link DrainOptions} */
export function readDrainOptions (value: unknown): CompleteDrain {
  return read(readArgument('options', value), (key, what) => { throw new TypeError(`"options.${key}" must be ${what}`) })
}

function read ({ within, code = GOING_AWAY, reason = 'drain', ...rest }: Record<string, unknown>, fail: (key: string, what: string) => never): CompleteDrain {
  const [unknown] = Object.keys(rest)
  if (unknown !== undefined) fail(unknown, noSuchOption(unknown, ['within', 'code', 'reason']))
  if (within !== 0 && !isDelay(within)) return fail('within', WITHIN)
  if (!isSendableCode(code)) return fail('code', CODE)
  if (!isReason(reason)) return fail('reason', REASON)
  return { within, code, reason }
}
