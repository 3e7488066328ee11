/*
 * Tokens that are bound to a key (`cnf`, RFC 7800), and the `confirm` option.
 */
import t from 'tap'
import type { Connection, WsAuthOptions } from '../../lib/index'
import { prepare, sign } from '../helpers/app'
import { closeOf, openSocket, statusOf } from '../helpers/sockets'

const BOUND = sign({ sub: 'ann', cnf: { jkt: 'thumb' } })
const FREE = sign({ sub: 'ann' })
const websocket = { websocket: true } as const

async function build (t: Parameters<typeof prepare>[0], plugin: WsAuthOptions = {}, seen: Connection[] = []): ReturnType<typeof prepare> {
  return await prepare(t, {
    plugin,
    routes: (app) => {
      app.get('/ws', websocket, (_socket, request) => { seen.push(request.wsAuth as Connection) })
      app.get('/first', { websocket: true, wsAuth: { token: { message: true } } }, () => {})
    }
  })
}

t.test('a token with a cnf is refused in each place if the confirm option is not set', async (t) => {
  const seen: Connection[] = []
  const { app, log } = await build(t, { tickets: true }, seen)
  t.equal(await statusOf(app, '/ws', BOUND), 401)
  t.ok(log.some((line) => line.includes('it has a cnf')), 'the log says why')
  t.equal((await app.inject({ method: 'POST', url: '/ws-ticket', headers: { authorization: `Bearer ${BOUND}` } })).statusCode, 401)
  await openSocket(app, '/ws', FREE)
  await t.rejects(seen[0]?.renew(BOUND) as Promise<unknown>, { code: 'WS_AUTH_TOKEN_INVALID' })
  const first = await openSocket(app, '/first', null)
  first.socket.send(JSON.stringify({ type: 'auth', token: BOUND }))
  t.strictSame(await closeOf(first), { code: 3000, reason: 'token_invalid' })
  t.equal(await statusOf(app, '/ws', FREE), 426)
})

t.test('only true confirms a token, and a confirm function that throws causes 503', async (t) => {
  let answer: () => unknown = () => true
  const asked: unknown[][] = []
  const { app } = await build(t, { confirm: (...args) => { asked.push(args); return answer() as boolean } })
  t.equal(await statusOf(app, '/ws', BOUND), 426)
  t.same(asked[0]?.[0], { sub: 'ann', cnf: { jkt: 'thumb' } })
  t.equal((asked[0]?.[1] as { url: string }).url, '/ws', 'the request has the proof')
  t.equal(await statusOf(app, '/ws', FREE), 426, 'a token without a cnf is asked about too')
  t.equal(asked.length, 2)
  for (const other of [false, undefined, 1, 'true', Promise.resolve(false), { ok: true }]) {
    answer = () => other
    t.equal(await statusOf(app, '/ws', BOUND), 401)
  }
  answer = async () => true
  t.equal(await statusOf(app, '/ws', BOUND), 426)
  for (const wrong of [() => { throw new Error('no') }, async () => { throw new Error('no') }]) {
    answer = wrong
    t.equal(await statusOf(app, '/ws', BOUND), 503)
  }
})

t.test('a token is confirmed when its ticket is issued, and not when the ticket is spent', async (t) => {
  let asked = 0
  const { app } = await build(t, { tickets: true, confirm: () => { asked++; return true } })
  const { ticket } = (await app.inject({ method: 'POST', url: '/ws-ticket', headers: { authorization: `Bearer ${BOUND}` } })).json<{ ticket: string }>()
  t.equal(asked, 1)
  const { socket } = await openSocket(app, `/ws?ticket=${ticket}`, null)
  t.equal(asked, 1)
  socket.terminate()
})

t.test('a renewal asks the confirm option too', async (t) => {
  const seen: Connection[] = []
  let isConfirmed = true
  const { app } = await build(t, { confirm: () => isConfirmed }, seen)
  await openSocket(app, '/ws', BOUND)
  await seen[0]?.renew(BOUND)
  isConfirmed = false
  await t.rejects(seen[0]?.renew(BOUND) as Promise<unknown>, { code: 'WS_AUTH_TOKEN_INVALID' })
})
