/*
 * The counts of an app, without those that are 0.
 */
import type { FastifyInstance } from 'fastify'
import type { WsAuthStats } from '../../lib/index'

type Counts = Readonly<Record<string, number>>

/** What `stats()` says of the app, with the refusals and the ends that have happened. */
export interface CountedStats extends Omit<WsAuthStats, 'refused' | 'closed' | 'routes' | 'durations' | 'backplane' | 'draining'> {
  readonly refused: Counts
  readonly closed: Counts
}

/** What `stats()` of an app says, without the counts that are 0, the routes and the durations. */
export function statsOf (app: Pick<FastifyInstance, 'wsAuth'>): CountedStats {
  const { routes, durations, backplane: _backplane, draining: _draining, ...stats } = app.wsAuth.stats()
  return { ...stats, refused: withoutZeros(stats.refused), closed: withoutZeros(stats.closed) }
}

/** The counts that are not 0. */
export function withoutZeros (counts: Counts): Counts {
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count !== 0))
}
