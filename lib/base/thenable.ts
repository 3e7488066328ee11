/*
 * Values that may be there now or later. Most checks of a handshake answer at once, so code makes a promise only if it got one.
 */

/** Whether a value is a promise, or similar to one. */
export function isThenable<T = unknown> (value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}

/** Reads a value: at once if it is there, else when its promise resolves. */
export function thenRead<T, R> (value: T | PromiseLike<T>, read: (value: T) => R | PromiseLike<R>): R | PromiseLike<R> {
  return isThenable(value) ? Promise.resolve(value).then(read) : read(value)
}

/** Takes care of a promise in a place that takes none: the value is refused, and its rejection must not end the process. */
export function ignoreRejection (value: unknown): void {
  if (isThenable(value)) value.then(undefined, () => {})
}
