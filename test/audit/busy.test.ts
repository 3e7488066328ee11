/*
 * An overload: what waits past `limits.pending` is refused with `WS_AUTH_BUSY`, is told when to come back, and does not flood the log.
 */
import t from 'tap'
import { sign, start, until } from '../helpers/app'
import { decisionsOf, listen } from '../helpers/audited-chat'
import { plainText, RawClient, upgrade } from '../helpers/raw-client'
import { closeOf, openSocket } from '../helpers/sockets'
import { statsOf } from '../helpers/stats'

const HEADERS = { authorization: `Bearer ${sign({ sub: 'ann' })}` }
const COUNT = 50

t.test('a thousandth handshake is refused with 503 and Retry-After, with one line at warn a second', async (t) => {
  const events = listen(t)
  const waiting: Array<() => void> = []
  const { app, log, port } = await start(t, {
    plugin: { limits: { pending: 1 }, verify: async () => { await new Promise<void>((resolve) => waiting.push(resolve)); return { sub: 'ann' } } },
    routes: (app) => app.get('/ws', { websocket: true }, () => {})
  })
  const first = await RawClient.open(t, port)
  first.upgrade({ path: '/ws', headers: HEADERS })
  await until(() => waiting.length === 1, 'one waits')
  const begun = Date.now()
  const answers = await Promise.all(Array.from({ length: COUNT }, async () => (await upgrade(t, port, { path: '/ws', headers: HEADERS })).answer))
  t.strictSame([...new Set(answers.map(({ status, body }) => `${status} ${JSON.parse(body).code}`))], ['503 WS_AUTH_BUSY'])
  const delays = answers.map(({ headers }) => headers['retry-after'])
  t.ok(delays.every((delay) => /^[1-5]$/.test(delay ?? '')), delays.join())
  t.ok(new Set(delays).size > 1, 'they do not come back together')
  const seconds = Math.ceil((Date.now() - begun) / 1000)
  const lines = decisionsOf(log)
  t.ok(lines.length >= 1 && lines.length <= seconds, `${lines.length} lines in ${seconds} s`)
  t.match(lines[0], { level: 40, event: 'refused', code: 'WS_AUTH_BUSY', why: 'limits.pending', skipped: 0 })
  t.equal(events.filter(({ code }) => code === 'WS_AUTH_BUSY').length, COUNT, 'each is an event')
  t.same(statsOf(app).refused, { WS_AUTH_BUSY: COUNT })

  const dryRun = await (await RawClient.open(t, port)).send(plainText({ path: '/ws', headers: HEADERS })).response()
  t.match(dryRun, { status: 503, headers: { 'retry-after': /^[1-5]$/, 'cache-control': 'no-store' } })
  let refused = COUNT + 1
  const told = (): number => decisionsOf(log).reduce((sum, { skipped }) => sum + Number(skipped) + 1, 0)
  do {
    await new Promise((resolve) => setTimeout(resolve, 100))
    await upgrade(t, port, { path: '/ws', headers: HEADERS })
    refused++
  } while (told() < refused && refused < COUNT + 100)
  t.equal(told(), refused, 'no refusal is lost from the log')
  waiting.shift()?.()
  t.equal((await first.response()).status, 101)
})

t.test('an overload is told by a close code if the app refuses so', async (t) => {
  const { app, port } = await start(t, {
    plugin: { rejectWith: 'close', limits: { pending: 1 }, token: { message: true } },
    routes: (app) => app.get('/ws', { websocket: true }, () => {})
  })
  await upgrade(t, port, { path: '/ws' })
  t.strictSame(await closeOf(await openSocket(app, '/ws', sign({ sub: 'ann' }))), { code: 4503, reason: 'server_busy' })
})

t.test('an outage and a full user get Retry-After too, and other refusals do not', async (t) => {
  const { app } = await start(t, {
    plugin: { tickets: true, limits: { perUser: 1 } },
    routes: (app) => {
      app.get('/ws', { websocket: true }, () => {})
      app.get('/down', { websocket: true, wsAuth: { authorize: () => { throw new Error('no database') } } }, () => {})
      app.get('/plain', { onRequest: app.wsAuth.authenticate }, async () => 'plain')
    }
  })
  await openSocket(app, '/ws', sign({ sub: 'ann' }))
  const retryAfter = async (url: string, headers = {}, method: 'GET' | 'POST' = 'GET'): Promise<[number, unknown]> => {
    const { statusCode, headers: answer } = await app.inject({ method, url, headers })
    return [statusCode, answer['retry-after']]
  }
  t.match(await retryAfter('/down', HEADERS), [503, /^[1-5]$/])
  t.match(await retryAfter('/ws', HEADERS), [429, /^[1-5]$/])
  t.strictSame(await retryAfter('/ws'), [401, undefined])
  t.strictSame(await retryAfter('/plain'), [401, undefined])
  t.strictSame(await retryAfter('/ws-ticket', {}, 'POST'), [401, undefined])
})

t.test('a handshake that no hook answers gets Retry-After too', async (t) => {
  const { port } = await start(t, {
    plugin: { handshakeTimeout: 50 },
    routes: (app) => {
      app.addHook('onRequest', async () => await new Promise(() => {}))
      app.get('/ws', { websocket: true }, () => {})
    }
  })
  const { answer } = await upgrade(t, port, { path: '/ws', headers: HEADERS })
  t.match(answer, { status: 503, headers: { 'retry-after': /^[1-5]$/ } })
})
