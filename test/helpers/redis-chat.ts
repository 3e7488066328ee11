/*
 * A chat on one instance of a Redis, and the lines of its log.
 */
import type { Test } from 'tap'
import type { Redis } from 'ioredis'
import { redisBackplane } from '../../lib/backplane/redis/index'
import { start } from './app'
import type { StartedApp } from './app'

export interface Line { level: number, msg: string, err?: { message: string } }

export function linesOf ({ log }: Pick<StartedApp, 'log'>): Line[] {
  return log.map((line) => JSON.parse(line) as Line)
}

export async function startChat (t: Test, client: Redis, staleAfter = 500): Promise<StartedApp> {
  return await start(t, {
    plugin: { backplane: redisBackplane({ client, staleAfter }) },
    routes: (app) => { app.get('/chat', { websocket: true }, () => {}) }
  })
}
