import { once } from 'node:events'
import t from 'tap'
import { WebSocket } from 'ws'
import { sign, start } from '../helpers/app'

const FLOOD = 50
const HANDSHAKE = { 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' }

/** The lines at `warn` and above that are not those of refusals, which are the answer to a request. */
const linesOf = (log: readonly string[], message: RegExp): Array<{ level: number, skipped?: number }> =>
  log.map((line) => JSON.parse(line)).filter(({ level, msg }) => level >= 40 && message.test(msg))

t.test('plain requests that were sent as handshakes cause one line a second, with the number of those left out', async (t) => {
  const { app, log } = await start(t, { routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
  const ask = async (): Promise<unknown> => await app.inject({ url: '/chat', headers: { ...HANDSHAKE, authorization: `Bearer ${sign()}` } })
  const startedAt = performance.now()
  for (let i = 0; i < FLOOD; i++) await ask()
  const seconds = Math.ceil((performance.now() - startedAt) / 1000)
  const lines = linesOf(log, /Sec-WebSocket-Key/)
  t.ok(lines.length >= 1 && lines.length <= seconds, `${lines.length} lines in ${seconds} s`)
  t.equal(lines[0]?.skipped, undefined, 'nothing was left out before the first line')
  await new Promise((resolve) => setTimeout(resolve, 1050))
  await ask()
  t.equal(linesOf(log, /Sec-WebSocket-Key/).reduce((sum, { skipped = 0 }) => sum + 1 + skipped, 0), FLOOD + 1, 'each request is counted')
})

t.test('an "upgrades" option that throws causes one line a second', async (t) => {
  const { log, port } = await start(t, {
    plugin: { upgrades: () => { throw new Error('broken') } },
    routes: (app) => { app.get('/chat', { websocket: true }, () => {}) }
  })
  const startedAt = performance.now()
  await Promise.all(Array.from({ length: FLOOD }, async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/chat`)
    await once(socket, 'error')
  }))
  const seconds = Math.ceil((performance.now() - startedAt) / 1000)
  const lines = linesOf(log, /the "upgrades" option threw/)
  t.ok(lines.length >= 1 && lines.length <= seconds, `${lines.length} lines in ${seconds} s`)
})
