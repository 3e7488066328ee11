/*
 * A step of the handshake may answer now or later. A promise is made only where one was given: what answers at once
 * costs none, and most steps do.
 */

/** Whether a value is to be waited for. */
export function isThenable<T = unknown> (value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
