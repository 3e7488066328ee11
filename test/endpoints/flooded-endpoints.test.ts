/*
 * Back-channel logout and security events are open to any client: what one can cause there, and what the log says.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import t from 'tap'
import type { Test } from 'tap'
import { sign, until } from '../helpers/app'
import { seconds } from '../helpers/keys'
import { accessToken, INVALID, isClosed, LOGGED_OUT, logOut, logoutToken, reasonsIn, startClient, TRY_AGAIN } from '../helpers/logout-chat'
import { hold, startChat } from '../helpers/renewal-app'
import { eventToken, linesIn, send, startReceiver } from '../helpers/signals-chat'
import { statsOf } from '../helpers/stats'

const FLOOD = 40

/** Causes so many failures, and one more after a second: each is in a line, or counted in one. */
async function assertSampled (t: Test, log: readonly string[], msg: string, fail: () => Promise<unknown>): Promise<void> {
  const startedAt = performance.now()
  for (let i = 0; i < FLOOD; i++) await fail()
  const most = 1 + Math.floor((performance.now() - startedAt) / 1000)
  const written = linesIn(log, msg).length
  t.ok(written >= 1 && written <= most, `${written} lines`)
  await new Promise((resolve) => setTimeout(resolve, 1010))
  await fail()
  const lines = linesIn(log, msg) as Array<{ level: number, skipped?: number, err?: unknown }>
  t.ok(lines.every(({ level, err }) => level === 50 && err !== undefined), 'each has its cause')
  t.equal(lines.reduce((sum, { skipped = 0 }) => sum + 1 + skipped, 0), FLOOD + 1, 'each failure is counted')
}

t.test('failures of a logout and of a security event cause one line a second', async (t) => {
  const fail = (): never => { throw new Error('the keys cannot be fetched') }
  const [client, receiver] = [await startClient(t, { plugin: { verify: fail } }), await startReceiver(t, { plugin: { verify: fail } })]
  const event = await eventToken()
  await Promise.all([
    assertSampled(t, client.log, 'back-channel logout failed', async () => t.same(await logOut(client.port, logoutToken()), TRY_AGAIN)),
    assertSampled(t, receiver.log, 'security event failed', async () => t.equal(await send(receiver.port, event), '503'))
  ])
})

t.test('at most limits.pending logouts, and as many security events, are handled at a time', async (t) => {
  const held = hold()
  let asked = 0
  const verify = async (token: string): Promise<object> => {
    asked++
    await held.wait()
    return JSON.parse(Buffer.from(token.split('.')[1] as string, 'base64url').toString())
  }
  const limits = { pending: 3 }
  const [client, receiver] = [await startClient(t, { plugin: { verify, limits } }), await startReceiver(t, { plugin: { verify, limits } })]
  const answers: unknown[] = []
  const logouts = Array.from({ length: 10 }, async () => answers.push(await logOut(client.port, logoutToken())))
  const events = Array.from({ length: 10 }, async () => answers.push(await send(receiver.port, await eventToken())))
  await until(() => answers.length === 14, 'those past the limit are answered')
  t.equal(asked, 6, 'and are not verified')
  held.release()
  await Promise.all([...logouts, ...events])
  const counts = [TRY_AGAIN, LOGGED_OUT, '503', '202'].map((answer) => answers.filter((each) => JSON.stringify(each) === JSON.stringify(answer)).length)
  t.same(counts, [7, 3, 7, 3])
  t.same(await logOut(client.port, logoutToken()), LOGGED_OUT, 'and there is room again')
  t.equal(await send(receiver.port, await eventToken()), '202')
})

t.test('the events of connections that a logout or a security event closes name it', async (t) => {
  const ends: unknown[] = []
  const onEvent = (message: unknown): void => {
    const { event, match, by, why } = message as Record<string, unknown>
    if (event === 'closed') ends.push({ match, by, why })
  }
  subscribe('fastify-ws-auth', onEvent)
  t.teardown(() => { unsubscribe('fastify-ws-auth', onEvent) })
  const client = await startClient(t)
  const chats = [await client.connect(accessToken()), await client.connect(accessToken({ sid: 'second' }))]
  t.same(await logOut(client.port, logoutToken()), LOGGED_OUT)
  t.same(await logOut(client.port, logoutToken({ sid: undefined })), LOGGED_OUT)
  for (const chat of chats) await isClosed(chat)
  const origin = { by: 'backChannelLogout', why: 'the user has logged out at the provider' }
  t.same(ends.splice(0), [{ match: { sid: 'first' }, ...origin }, { match: { sub: 'ann' }, ...origin }])
  t.match(client.log.map((line) => JSON.parse(line)).filter(({ command }) => command === 'revoke'), [origin, origin])
})

t.test('a logout token of a time before 1973 is refused for good', async (t) => {
  const { port, connect, log } = await startClient(t)
  const chat = await connect(accessToken({ sid: undefined }))
  const times = [1, 0.5, 0, -5, 2e6, 99_999_999]
  for (const iat of times) t.same(await logOut(port, logoutToken({ iat, exp: seconds(60), sid: undefined })), INVALID, String(iat))
  t.same(reasonsIn(log), times.map(() => 'its iat is before 1973'))
  t.ok(await chat.isHeard())
})

t.test('refused renewals of a connection cause ten lines a second, and each is an event and a count', async (t) => {
  let events = 0
  const onEvent = (message: unknown): void => { if ((message as { event: string }).event === 'renewal_refused') events++ }
  subscribe('fastify-ws-auth', onEvent)
  t.teardown(() => { unsubscribe('fastify-ws-auth', onEvent) })
  const { app, connect, log } = await startChat(t, { plugin: { renewal: true } })
  const [loud, quiet] = [await connect(sign({ sub: 'ann' })), await connect(sign({ sub: 'bea' }))]
  const startedAt = performance.now()
  for (let i = 0; i < FLOOD; i++) {
    loud.client.send('{"type":"auth","token":"x"}')
    await loud.next()
  }
  quiet.client.send('{"type":"auth","token":"x"}')
  await quiet.next()
  const most = 10 * (1 + Math.floor((performance.now() - startedAt) / 1000))
  const lines = linesIn(log, 'websocket renewal refused')
  const ofLoud = lines.filter(({ sub }) => sub === 'ann')
  t.ok(ofLoud.length >= 10 && ofLoud.length <= most, `${ofLoud.length} lines`)
  t.equal(lines.length - ofLoud.length, 1, 'another connection has its own')
  t.equal(events, FLOOD + 1)
  t.same(statsOf(app).refused, { WS_AUTH_TOKEN_INVALID: FLOOD + 1 })
})
