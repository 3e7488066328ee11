/*
 * The deadline of a connection after renewals, and what ends a renewal under way.
 */
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { sign } from '../helpers/app'
import { eventually, hold, moveClock, startChat, turn } from '../helpers/renewal-app'
import type { Chat } from '../helpers/renewal-app'
import { NOW, WAYS, from, isOpen, stateOf } from '../helpers/renewals'
import { statsOf } from '../helpers/stats'
import type { CountedStats } from '../helpers/stats'

t.test('a renewal moves the deadline of its connection', async (t) => {
  await t.test('the deadline stays after a refused renewal, and moves after an accepted one', async (t) => {
    const { app, connect } = await startChat(t, { plugin: { renewal: true }, wsAuth: { roles: ['member'] } })
    const clock = moveClock(t)
    const at = from(Date.now())
    const claims = { sub: 'ann', iat: at(0), exp: at(60), roles: ['member'] }
    const [refused, accepted] = [await connect(sign(claims)), await connect(sign(claims))]
    t.equal((await refused.renewByFrame(sign({ ...claims, exp: at(600), roles: [] }))).code, 'WS_AUTH_FORBIDDEN')
    t.equal((await refused.renewByFrame(sign({ ...claims, exp: at(600), sub: 'bob' }))).code, 'WS_AUTH_TOKEN_INVALID')
    t.match(await accepted.renewByFrame(sign({ ...claims, exp: at(120) })), { type: 'auth.ok', expiresAt: at(120) * 1000 })
    clock.advance(58_000)
    t.ok(await isOpen(refused) && await isOpen(accepted))
    clock.advance(2500)
    await eventually(() => refused.closed.code !== null, 'the refused one is closed')
    t.strictSame(refused.closed, { code: 3000, reason: 'token_expired' })
    t.ok(await isOpen(accepted), 'the old deadline has passed')
    clock.advance(57_000)
    t.ok(await isOpen(accepted))
    clock.advance(3500)
    await eventually(() => accepted.closed.code !== null, 'the accepted one is closed')
    t.strictSame(accepted.closed, { code: 3000, reason: 'token_expired' })
    t.match(statsOf(app), { connections: 0, renewed: 1, closed: { token_expired: 2 } })
    clock.exit()
  })

  await t.test('a connection has no deadline after a renewal by a token that never expires', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true, maxLifetime: Infinity } })
    const clock = moveClock(t)
    const at = from(Date.now())
    const chat = await connect(sign({ sub: 'ann', exp: at(60) }))
    t.match(await chat.renewByFrame(sign({ sub: 'ann' })), { type: 'auth.ok', expiresAt: null })
    for (let i = 0; i < 5; i++) clock.advance(86_400_000)
    t.ok(await isOpen(chat))
    clock.exit()
  })

  await t.test('the deadline never passes maxLifetime, however often the connection is renewed', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true, expiryGrace: 30_000 }, wsAuth: { maxLifetime: 100_100 } })
    const clock = moveClock(t)
    const at = from(Date.now())
    const chat = await connect(sign({ sub: 'ann', exp: at(60) }))
    for (let i = 1; i < 10; i++) {
      clock.advance(10_000)
      t.match(await chat.renewByFrame(sign({ sub: 'ann', exp: at(60 + i * 1000) })), { type: 'auth.ok', expiresAt: at(60 + i * 1000) * 1000 })
    }
    clock.advance(10_000)
    t.ok(await isOpen(chat))
    t.match(await chat.renewByFrame(sign({ sub: 'ann' })), { type: 'auth.ok', expiresAt: null })
    clock.advance(1100)
    await eventually(() => chat.closed.code !== null, 'it is closed')
    t.strictSame(chat.closed, { code: 3000, reason: 'lifetime_exceeded' })
    clock.exit()
  })

  await t.test('the deadline lies at the end of the grace, and a renewal within the grace is accepted', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true, expiryGrace: 30_000 } })
    const clock = moveClock(t)
    const at = from(Date.now())
    const token = sign({ sub: 'ann', exp: at(60) })
    const [late, saved] = [await connect(token), await connect(token)]
    clock.advance(80_000)
    t.ok(await isOpen(late))
    t.equal((await saved.renewByFrame(token)).code, 'WS_AUTH_TOKEN_EXPIRED', 'no grace for a new token')
    t.match(await saved.renewByFrame(sign({ sub: 'ann', exp: at(200) })), { type: 'auth.ok', expiresAt: at(200) * 1000 })
    t.equal(late.connection.expiresAt, at(60) * 1000)
    clock.advance(11_000)
    await eventually(() => late.closed.code !== null, 'the grace is over')
    t.strictSame(late.closed, { code: 3000, reason: 'token_expired' })
    clock.advance(128_000)
    t.ok(await isOpen(saved), 'the grace is the new token\'s too')
    clock.advance(11_000)
    await eventually(() => saved.closed.code !== null, 'the second grace is over')
    t.strictSame(saved.closed, { code: 3000, reason: 'token_expired' })
    clock.exit()
  })

  await t.test('a connection refuses renewals after its deadline although no timer has fired', async (t) => {
    // The sweep runs 150 ms after this deadline.
    for (const [way, renew] of Object.entries(WAYS)) {
      const { app, connect } = await startChat(t, { plugin: { renewal: true, expiryGrace: 100 } })
      const clock = moveClock(t)
      const at = from(Date.now())
      const chat = await connect(sign({ sub: 'ann', exp: at(60) }))
      clock.travel(at(60) * 1000 + 99)
      t.ok(await isOpen(chat))
      clock.advance(1)
      t.equal(app.wsAuth.connections.size, 1, 'nothing has run yet')
      if (way === 'an auth frame') chat.client.send(JSON.stringify({ type: 'auth', token: sign({ sub: 'ann', exp: at(600) }) }))
      else t.equal(await renew(chat, sign({ sub: 'ann', exp: at(600) })), 'WS_AUTH_TOKEN_INVALID')
      await eventually(() => chat.closed.code !== null, 'it is closed')
      t.strictSame(chat.closed, { code: 3000, reason: 'token_expired' })
      t.notMatch(chat.received.join(), /auth\.(ok|error)/, 'and not answered')
      t.match(statsOf(app), { renewed: 0, closed: { token_expired: 1 } })
      clock.exit()
    }
  })
})

t.test('a renewal in progress ends with its connection or at a timeout', async (t) => {
  interface Held { chat: Chat, signals: AbortSignal[], finish: () => void, renewing: Promise<string>, stats: () => CountedStats, close: () => Promise<undefined> }

  /** A connection with a renewal that its verifier holds, and what the promise of it says in the end. */
  async function held (t: Test, plugin: fastifyWsAuth.WsAuthOptions = {}): Promise<Held> {
    const gate = hold()
    const signals: AbortSignal[] = []
    const { app, connect } = await startChat(t, {
      plugin: {
        renewal: true,
        ...plugin,
        verify: async (token, _request, { signal }) => {
          if (token.startsWith('present')) return { sub: 'ann', exp: NOW + 60 }
          signals.push(signal)
          await gate.wait()
          return { sub: 'ann', exp: NOW + 1000 }
        }
      }
    })
    const chat = await connect('present')
    const renewing = chat.connection.renew('next').then(() => 'accepted', ({ code }) => String(code))
    await eventually(() => signals.length === 1, 'the verifier is asked')
    t.notOk(signals[0]?.aborted)
    return { chat, signals, finish: gate.release, renewing, stats: () => statsOf(app), close: async () => await app.close() }
  }

  const endings: Record<string, [end: (held: Held) => unknown, code: number]> = {
    'the app closes the connection': [({ chat }) => { chat.connection.close(4001) }, 4001],
    'the app terminates the connection': [({ chat }) => { chat.socket.terminate() }, 1006],
    'the client closes the connection': [({ chat }) => { chat.client.close(4002) }, 4002],
    'the client terminates the connection': [({ chat }) => { chat.client.terminate() }, 1006],
    'the app closes': [({ close }) => { void close() }, 1001]
  }
  for (const [name, [end, code]] of Object.entries(endings)) {
    await t.test(`a renewal in progress is refused at once if ${name}`, async (t) => {
      const all = await held(t)
      const { chat, signals, finish, renewing, stats } = all
      const before = stateOf(chat)
      end(all)
      t.equal(await renewing, 'WS_AUTH_TOKEN_INVALID')
      t.ok(signals[0]?.aborted)
      await eventually(() => chat.closed.code !== null, 'it is closed')
      t.equal(chat.closed.code, code)
      finish()
      await turn()
      t.strictSame(stateOf(chat), before)
      t.match(stats(), { connections: 0, renewed: 0 })
      t.strictSame(stats().refused, {}, 'it went with the connection')
    })
  }

  await t.test('a renewal in progress is refused if the connection expires', async (t) => {
    const { chat, signals, finish, renewing, stats } = await held(t, { handshakeTimeout: 1e6 })
    const before = stateOf(chat)
    const clock = moveClock(t)
    clock.travel((NOW + 60) * 1000)
    // The sweep was set by the real clock. A message is what notices here.
    chat.client.send('hello')
    await eventually(() => chat.closed.code !== null, 'it is closed')
    t.strictSame(chat.closed, { code: 3000, reason: 'token_expired' })
    t.equal(await renewing, 'WS_AUTH_TOKEN_INVALID')
    t.ok(signals[0]?.aborted)
    finish()
    await turn()
    t.strictSame(stateOf(chat), before)
    t.strictSame(chat.got, [])
    t.match(stats(), { connections: 0, renewed: 0 })
    clock.exit()
  })

  await t.test('a renewal in progress is refused if the connection has expired before a timer fires', async (t) => {
    const { chat, finish, renewing } = await held(t, { handshakeTimeout: 1e6 })
    const before = stateOf(chat)
    const clock = moveClock(t)
    clock.travel((NOW + 60) * 1000)
    finish()
    t.equal(await renewing, 'WS_AUTH_TOKEN_INVALID')
    t.strictSame(stateOf(chat), before)
    await eventually(() => chat.closed.code !== null, 'it is closed')
    t.strictSame(chat.closed, { code: 3000, reason: 'token_expired' })
    clock.exit()
  })

  await t.test('a renewal in progress is refused at handshakeTimeout, and the connection stays open', async (t) => {
    const { chat, signals, finish, renewing, stats } = await held(t, { handshakeTimeout: 50 })
    const before = stateOf(chat)
    t.equal(await renewing, 'WS_AUTH_UNAVAILABLE')
    t.ok(signals[0]?.aborted)
    const byFrame = await chat.renewByFrame('next')
    t.strictSame(byFrame, { type: 'auth.error', code: 'WS_AUTH_UNAVAILABLE' })
    t.ok(signals[1]?.aborted)
    t.ok(await isOpen(chat))
    finish()
    await turn()
    t.strictSame(stateOf(chat), before, 'what comes too late is not taken')
    t.match(stats(), { connections: 1, renewed: 0, refused: { WS_AUTH_UNAVAILABLE: 2 } })
    await chat.connection.renew('next')
    t.equal(chat.connection.expiresAt, (NOW + 1000) * 1000)
    t.notOk(signals[2]?.aborted)
  })
})
