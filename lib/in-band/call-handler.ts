/*
 * The call of a handler whose failure decides what becomes of the messages behind the first.
 */
import { isThenable } from '../base/thenable'

/** Calls a handler. `hasFailed` returns whether it has thrown, or its promise is rejected by now. */
export function callHandler (handler: () => unknown): { isAsync: boolean, hasFailed: () => boolean } {
  let hasFailed = false
  let isAsync = false
  const fail = (): void => { hasFailed = true }
  try {
    const result = handler()
    isAsync = isThenable(result)
    if (isThenable(result)) result.then(undefined, fail)
  } catch {
    fail()
  }
  return { isAsync, hasFailed: () => hasFailed }
}
