/*
 * Errors that nobody catches. They end a process that does not listen for them.
 */
import t from 'tap'

const errors: unknown[] = []

function onError (error: unknown): void {
  errors.push(error)
}

process.on('uncaughtException', onError)
process.on('unhandledRejection', onError)

// Whatever test they came in: the file fails.
t.teardown(() => { if (errors.length > 0) throw errors[0] })

/** All errors so far that nobody caught. */
export function uncaughtErrors (): readonly unknown[] {
  return errors
}
