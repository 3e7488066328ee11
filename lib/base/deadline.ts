/*
 * Bounds how long we wait for code that is not ours.
 */

/** The wait was too long. */
export class DeadlineError extends Error {
  override readonly name = 'DeadlineError'
}

/**
 * Waits for a promise, but not longer than `timeout`.
 *
 * @param timeout in milliseconds
 * @param what names the work in the message
 * @throws DeadlineError if the promise has not settled by then. Its later result is ignored
 */
export async function withDeadline<T> (promise: PromiseLike<T>, timeout: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    // If the event loop was blocked, a pending answer is read after the timer and before the immediate.
    timer = setTimeout(() => setImmediate(() => reject(new DeadlineError(`${what} took longer than ${timeout} ms`))), timeout).unref()
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
