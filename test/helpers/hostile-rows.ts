/*
 * The rows of an attack table of handshakes, and the server that they are tried on.
 */
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { RouteWsAuth } from '../../lib/options/public-route-options'
import { sign } from './app'
import { HostileTarget } from './hostile-target'
import type { Answer } from './hostile-target'
import { plainText, requestText } from './raw-client'
import type { RequestSettings } from './raw-client'

/** Each row that was tried. */
export const tried: string[] = []
export const GOOD = sign({ sub: 'ann' })
export const BAD = sign({ sub: 'ann' }, 'another secret of thirty-two byte')
export const AUTHORIZED = { authorization: `Bearer ${GOOD}` }
export const KEY = 'sec-websocket-key'
/** A second request, which must never be one. */
export const SMUGGLED = plainText({ path: '/http', headers: AUTHORIZED })
export const SMUGGLED_UPGRADE = requestText({ path: '/chat', headers: AUTHORIZED })

export type Row = readonly [what: string, request: RequestSettings | string | Buffer, answer: Answer]

/** Tries rows, each a good and authorized handshake of /chat but for what it says; a text is sent as it is. */
export function tryRows (t: Test, target: HostileTarget, rows: readonly Row[], base: RequestSettings = { headers: AUTHORIZED }): void {
  for (const [what, request, answer] of rows) {
    tried.push(`${t.name}: ${what}`)
    t.test(`${t.name}: ${what}`, async (t) => {
      const isText = typeof request === 'string' || Buffer.isBuffer(request)
      const sent = isText ? request : { path: '/chat', ...base, ...request, headers: { ...base.headers, ...request.headers } }
      const { text } = await target.answers(t, sent, answer)
      t.notMatch(text, GOOD.slice(-20), 'the token is not in the answer')
    })
  }
}

/** A server with routes of all kinds, of which only websockets may be upgraded. */
export async function startTarget (t: Test, settings: Parameters<typeof HostileTarget.start>[1] = {}): Promise<HostileTarget> {
  return await HostileTarget.start(t, {
    ...settings,
    routes: (app, ran) => {
      app.get('/http', async () => { ran.push('http'); return 'http' })
      app.post('/http', async () => { ran.push('http'); return 'http' })
      return settings.routes?.(app, ran)
    }
  })
}

/** Adds a websocket that greets as /chat does. */
export function addGreeter (app: FastifyInstance, ran: string[], url: string, wsAuth: RouteWsAuth): void {
  app.get(url, { websocket: true, wsAuth }, (socket, request) => {
    ran.push('handler')
    socket.send(`hello from ${request.wsAuth?.source}`)
    socket.on('message', (data) => ran.push(String(data)))
  })
}

/** The text of a good handshake with its first line, or any other part, replaced. */
export function changed (from: string | RegExp, to: string): string {
  return requestText({ path: '/chat', headers: AUTHORIZED }).replace(from, to)
}

/** Each row of a file was tried, and no name stands twice. */
export function assertRows (t: Test, count: number): void {
  t.equal(tried.length, count, `${tried.length} rows`)
  t.equal(new Set(tried).size, tried.length, 'each name stands once')
}
