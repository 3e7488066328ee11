/*
 * What others do for us is waited for, and not for ever.
 */

/** Something took too long. */
export class DeadlineError extends Error {
  override readonly name = 'DeadlineError'
}

/**
 * What a promise resolves to.
 *
 * @param timeout in milliseconds
 * @param what names it in the message
 * @throws DeadlineError where it has not settled by then. What the promise does later is of no account
 */
export async function withDeadline<T> (promise: PromiseLike<T>, timeout: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    // Where the loop was blocked, what came meanwhile is read before an immediate runs, but after a timer.
    timer = setTimeout(() => setImmediate(() => reject(new DeadlineError(`${what} took longer than ${timeout} ms`))), timeout).unref()
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
