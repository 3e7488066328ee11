/*
 * The logger of the app is a function of the app, and may throw. What has to be done stays done where it does: a user is logged
 * out on all instances, or the other side of an outage is told, whether or not anybody can be told of it.
 */
import type { FastifyBaseLogger } from 'fastify'

type Level = 'debug' | 'info' | 'warn' | 'error'

/** A logger that does not throw. */
export type QuietLog = Pick<FastifyBaseLogger, Level>

/** The same logger, but for what it throws. */
export function quietLog (log: FastifyBaseLogger): QuietLog {
  const quiet = (level: Level) => (...line: Parameters<QuietLog['info']>): void => {
    try {
      log[level](...line)
    } catch {
      // There is nobody else to tell.
    }
  }
  return { debug: quiet('debug'), info: quiet('info'), warn: quiet('warn'), error: quiet('error') }
}
