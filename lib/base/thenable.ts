/*
 * A step of the handshake may answer now or later. A promise is made only where one was given: what answers at once
 * costs none, and most steps do.
 */

/** Whether a value is to be waited for. */
export function isThenable<T = unknown> (value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}

/** What is made of a value: at once where it is there at once. */
export function thenRead<T, R> (value: T | PromiseLike<T>, read: (value: T) => R | PromiseLike<R>): R | PromiseLike<R> {
  return isThenable(value) ? Promise.resolve(value).then(read) : read(value)
}
