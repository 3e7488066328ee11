/*
 * The logger of the app is code of the app, and may throw. Important work goes on then: a user is logged out on all instances even if
 * the log line fails.
 */
import type { FastifyBaseLogger } from 'fastify'

type Level = 'debug' | 'info' | 'warn' | 'error'

/** A logger that does not throw. */
export type QuietLog = Pick<FastifyBaseLogger, Level>

/** Wraps a logger so that it does not throw. */
export function quietLog (log: FastifyBaseLogger): QuietLog {
  const quiet = (level: Level) => (...line: Parameters<QuietLog['info']>): void => {
    try {
      log[level](...line)
    } catch {
      // There is no other place for the error.
    }
  }
  return { debug: quiet('debug'), info: quiet('info'), warn: quiet('warn'), error: quiet('error') }
}
