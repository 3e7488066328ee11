/*
 * Renewals at the same time: their order, and their number.
 */
import t from 'tap'
import { sign } from '../helpers/app'
import { clientFrame, upgrade } from '../helpers/raw-client'
import { eventually, hold, startChat } from '../helpers/renewal-app'
import { NEWER, NOW, PRESENT, WAYS } from '../helpers/renewals'
import type { Claims } from '../helpers/renewals'
import { statsOf } from '../helpers/stats'

function without (claims: Claims, ...names: string[]): Claims {
  return Object.fromEntries(Object.entries(claims).filter(([name]) => !names.includes(name)))
}

/** All orders of some things. */
function orders<T> (items: readonly T[]): T[][] {
  return items.length < 2 ? [[...items]] : items.flatMap((item, i) => orders(items.toSpliced(i, 1)).map((rest) => [item, ...rest]))
}

t.test('racing renewals leave the result of the newest, in any order', async (t) => {
  const tokens = [1, 2, 3].map((n) => ({ sub: 'ann', iat: NOW - 10 + n, exp: NOW + 600 + n, n }))
  const gates = new Map<unknown, ReturnType<typeof hold>>()
  const asked: unknown[] = []
  const { app, connect } = await startChat(t, {
    plugin: { renewal: true },
    wsAuth: {
      authorize: async (user) => {
        const { n } = user as Claims
        asked.push(n)
        await gates.get(n)?.wait()
        return true
      }
    }
  })
  for (const way of Object.keys(WAYS)) {
    for (const started of orders(tokens)) {
      for (const finished of orders(tokens)) {
        gates.clear()
        const chat = await connect(sign({ sub: 'ann', iat: NOW - 10, exp: NOW + 600, n: 0 }))
        const { renewed } = statsOf(app)
        for (const { n } of tokens) gates.set(n, hold())
        asked.length = 0
        const outcomes = new Map<unknown, Promise<string>>()
        for (const claims of started) {
          if (way === 'an auth frame') chat.client.send(JSON.stringify({ type: 'auth', token: sign(claims) }))
          else outcomes.set(claims.n, chat.connection.renew(sign(claims)).then((user) => `ok ${String((user as Claims).n)}`, ({ code }) => String(code)))
        }
        await eventually(() => asked.length === 3, 'all are under way')
        let newest = 0
        let accepted = 0
        for (const { n, exp } of finished) {
          const isNewer = n > newest
          if (isNewer) { newest = n; accepted++ }
          gates.get(n)?.release()
          const expected = isNewer ? { type: 'auth.ok', expiresAt: exp * 1000 } : { type: 'auth.error', code: 'WS_AUTH_TOKEN_INVALID' }
          const outcome = outcomes.get(n)
          if (outcome !== undefined) t.equal(await outcome, isNewer ? `ok ${n}` : expected.code)
          else t.match(JSON.parse(await chat.next()), expected)
          const { connection, request } = chat
          t.strictSame([connection.claims, connection.user, request.user].map((claims) => (claims as Claims).n), [newest, newest, newest])
          t.equal(connection.expiresAt, (NOW + 600 + newest) * 1000)
        }
        t.equal(newest, 3)
        t.equal(statsOf(app).renewed, renewed + accepted)
        chat.client.terminate()
      }
    }
  }
})

t.test('the plugin limits and orders many renewals at once', async (t) => {
  await t.test('the plugin refuses the ninth waiting renewal of a connection', async (t) => {
    let gate = hold()
    let asked = 0
    const { app, connect } = await startChat(t, {
      plugin: { renewal: true },
      wsAuth: { authorize: async (user) => { if ((user as Claims).n === 1) { asked++; await gate.wait() } return true } }
    })
    const chat = await connect(sign(PRESENT))
    const other = await connect(sign(PRESENT))
    for (let round = 0; round < 2; round++) {
      gate = hold()
      asked = 0
      for (let i = 0; i < 12; i++) chat.client.send(JSON.stringify({ type: 'auth', token: sign(NEWER) }))
      for (let i = 0; i < 4; i++) t.equal(await chat.next(), '{"type":"auth.error","code":"WS_AUTH_LIMIT"}')
      await eventually(() => asked === 8, 'eight are under way')
      t.equal((await other.renewByFrame(sign(without({ ...NEWER, jti: 'x' }, 'n')))).type, 'auth.ok', 'another connection is not held up')
      t.ok(await chat.isHeard(), 'nor are messages')
      gate.release()
      for (let i = 0; i < 8; i++) t.match(await chat.next(), '"auth.ok"')
    }
    t.match(statsOf(app), { renewed: 18, refused: { WS_AUTH_LIMIT: 8 } })
    t.equal(asked, 8)
  })

  await t.test('the plugin answers renewals in one chunk in order', async (t) => {
    const { port } = await startChat(t, { plugin: { renewal: true } })
    const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign(PRESENT)}` } })
    t.match(String((await client.frame()).payload), '"auth.ok"', 'the connection is open')
    const tokens = Array.from({ length: 40 }, (_, i) => i % 2 === 0 ? { ...NEWER, exp: NEWER.exp + i } : { ...NEWER, exp: 1 })
    client.send(Buffer.concat(tokens.map((claims) => clientFrame(1, JSON.stringify({ type: 'auth', token: sign(claims) })))))
    for (let i = 0; i < tokens.length; i++) t.match(String((await client.frame()).payload), i % 2 === 0 ? '"auth.ok"' : 'WS_AUTH_TOKEN_EXPIRED')
  })
})
