/*
 * The option `recheck`: the app is asked again about open connections, and what its answers do.
 */
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { sign } from '../helpers/app'
import { eventually, moveClock, passUntil } from '../helpers/moved-clock'
import type { MovedClock } from '../helpers/moved-clock'
import { hold, startChat } from '../helpers/renewal-app'
import type { Chat, ChatApp, ChatSettings } from '../helpers/renewal-app'
import { statsOf } from '../helpers/stats'

type Check = fastifyWsAuth.RecheckOptions['check']

const EVERY = 10_000
const IAT = Math.floor(Date.now() / 1000) - 60
const CLAIMS = { sub: 'ann', iat: IAT, exp: IAT + 3600, roles: ['member'] }

interface Checked extends ChatApp {
  readonly clock: MovedClock
  readonly asked: fastifyWsAuth.Connection[]
  /** Lets one interval pass, and waits for the answers. */
  readonly pass: () => Promise<void>
}

/** A chat whose connections are asked about every ten seconds. */
async function startChecked (t: Test, check: Check, settings: ChatSettings = {}, onFailure?: 'keep' | 'close'): Promise<Checked> {
  const asked: fastifyWsAuth.Connection[] = []
  let answered = 0
  const counted: Check = async (connection, context) => {
    asked.push(connection)
    try {
      return await check(connection, context)
    } finally {
      answered++
    }
  }
  const app = await startChat(t, { ...settings, plugin: { renewal: true, ...settings.plugin, recheck: { every: EVERY, check: counted, ...onFailure === undefined ? {} : { onFailure } } } })
  const clock = moveClock(t)
  return {
    ...app,
    clock,
    asked,
    pass: async () => {
      const before = asked.length
      await clock.pass(EVERY + 200)
      await eventually(clock, () => asked.length > before && answered === asked.length, 'the answers')
      await clock.pass(50)
    }
  }
}

async function closeOf ({ clock }: Checked, { closed }: Chat): Promise<Chat['closed']> {
  await eventually(clock, () => closed.code !== null, 'the end')
  return closed
}

function warningsIn ({ log }: Checked): Array<Record<string, unknown>> {
  return log.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'the recheck of a websocket connection failed')
}

t.test('a connection is kept as long as check returns true', async (t) => {
  const app = await startChecked(t, () => true)
  const chat = await app.connect(sign(CLAIMS))
  for (let round = 1; round <= 3; round++) {
    await app.pass()
    t.equal(app.asked.length, round)
    t.equal(app.asked.at(-1), chat.connection, 'check gets the connection that request.wsAuth is')
  }
  t.ok(await chat.isHeard())
})

t.test('a result that is neither true nor claims closes with token_revoked', async (t) => {
  for (const answer of [false, undefined, null, 0, 1, '', 'true', [], [CLAIMS], () => true, Promise.resolve(false)]) {
    const app = await startChecked(t, () => answer)
    const chat = await app.connect(sign(CLAIMS))
    await app.pass()
    t.same(await closeOf(app, chat), { code: 3000, reason: 'token_revoked' }, String(answer))
    t.equal(statsOf(app.app).closed.token_revoked, 1)
    t.equal(app.log.some((line) => line.includes('is a return or an await missing?')), answer === undefined)
    await app.clock.pass(2 * EVERY)
    t.equal(app.asked.length, 1, 'it is not asked about again')
    app.clock.exit()
  }
})

t.test('an error that check returns closes with token_revoked, whether the token has a subject or not', async (t) => {
  const { sub, ...withoutSubject } = CLAIMS
  for (const claims of [CLAIMS, withoutSubject]) {
    const app = await startChecked(t, () => new Error('the login is gone'))
    const chat = await app.connect(sign(claims))
    await app.pass()
    t.same(await closeOf(app, chat), { code: 3000, reason: 'token_revoked' })
    app.clock.exit()
  }
})

t.test('new claims are taken over as those of a renewal', async (t) => {
  const app = await startChecked(t, () => ({ ...CLAIMS, exp: CLAIMS.exp + 600, jti: 'second', roles: ['admin'] }), {
    wsAuth: { user: (claims) => ({ id: claims.sub, roles: claims.roles }) as never },
    plugin: { groups: (claims) => claims.roles }
  })
  const chat = await app.connect(sign({ ...CLAIMS, jti: 'first' }))
  await app.pass()
  const { connection, request } = chat
  t.match(connection.claims, { jti: 'second', exp: CLAIMS.exp + 600 })
  t.ok(Object.isFrozen(connection.claims))
  t.same(request.user, { id: 'ann', roles: ['admin'] })
  t.equal(connection.user, request.user)
  t.same(connection.groups, ['admin'])
  t.equal(connection.expiresAt, (CLAIMS.exp + 600) * 1000)
  t.equal((await app.app.wsAuth.revoke({ jti: 'first' })).closed, 0, 'the old jti closes nothing')
  t.equal((await app.app.wsAuth.revoke({ jti: 'second' })).closed, 1)
  t.same(await closeOf(app, chat), { code: 3000, reason: 'token_revoked' })
})

t.test('claims that do not continue the connection close it', async (t) => {
  const cases: Array<[string, object, code: number, reason: string, ChatSettings?]> = [
    ['another subject', { ...CLAIMS, sub: 'bea' }, 3000, 'token_revoked'],
    ['no subject', { iat: IAT }, 3000, 'token_revoked'],
    ['a sub that is a number', { ...CLAIMS, sub: 17 }, 3000, 'token_revoked'],
    ['another iss', { ...CLAIMS, iss: 'another' }, 3000, 'token_revoked'],
    ['an exp that is a text', { ...CLAIMS, exp: '2030' }, 3000, 'token_revoked'],
    ['an exp in the past', { ...CLAIMS, exp: IAT }, 3000, 'token_expired'],
    ['a logout token', { ...CLAIMS, events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }, 3000, 'token_revoked'],
    ['claims that the schema refuses', { ...CLAIMS, roles: ['guest'] }, 3000, 'token_revoked', { plugin: { claims: { type: 'object', properties: { roles: { const: ['member'] } } } } }],
    ['no user', CLAIMS, 3000, 'token_revoked', { plugin: { user: (claims) => (claims.first === true ? claims : null) as never } }],
    ['no role of the route', { ...CLAIMS, roles: ['guest'] }, 3003, 'forbidden', { wsAuth: { roles: ['member'] } }],
    ['a user whom authorize refuses', { ...CLAIMS, isBlocked: true }, 3003, 'forbidden', { wsAuth: { authorize: (user) => (user as { isBlocked?: boolean }).isBlocked !== true } }],
    ['no scope, with another close code', CLAIMS, 4403, 'forbidden', { wsAuth: { scopes: ['chat'], closeCodes: { forbidden: 4403 } } }]
  ]
  for (const [what, claims, code, reason, settings] of cases) {
    const app = await startChecked(t, () => claims, settings)
    const chat = await app.connect(sign({ ...CLAIMS, first: true, scope: 'chat' }))
    await app.pass()
    t.same(await closeOf(app, chat), { code, reason }, what)
    t.equal((statsOf(app.app).closed as Record<string, number>)[reason], 1, what)
    app.clock.exit()
  }
})

t.test('claims that expire earlier end the connection earlier', async (t) => {
  const exp = Math.floor(Date.now() / 1000) + 40
  const app = await startChecked(t, () => ({ ...CLAIMS, exp }))
  const chat = await app.connect(sign(CLAIMS))
  await app.pass()
  t.equal(chat.connection.endsAt, exp * 1000)
  await app.clock.pass(exp * 1000 - Date.now() - 1000)
  t.ok(await chat.isHeard())
  await app.clock.pass(1500)
  t.same(await closeOf(app, chat), { code: 3000, reason: 'token_expired' }, 'though the client sends nothing')
})

t.test('a connection that is to end earlier, and then a little later, ends then', async (t) => {
  const extended: Record<string, (app: Checked, chat: Chat, exp: number) => Promise<unknown>> = {
    recheck: async (app) => { await app.pass() },
    renewal: async (_app, { connection }, exp) => await connection.renew(sign({ ...CLAIMS, exp }))
  }
  for (const [name, extend] of Object.entries(extended)) {
    const now = Math.floor(Date.now() / 1000)
    const ends = [now + 30, now + 45]
    let round = 0
    const app = await startChecked(t, () => {
      const exp = ends[round++]
      if (exp === undefined || (name === 'renewal' && round > 1)) throw new Error('the issuer is down')
      return { ...CLAIMS, exp }
    })
    const chat = await app.connect(sign(CLAIMS))
    await app.pass()
    t.equal(chat.connection.endsAt, (now + 30) * 1000)
    await extend(app, chat, now + 45)
    t.equal(chat.connection.endsAt, (now + 45) * 1000, name)
    await app.clock.pass((now + 45) * 1000 - Date.now() - 500)
    t.equal(chat.closed.code, null, name)
    await app.clock.pass(1500)
    await app.clock.pass(500)
    t.equal(statsOf(app.app).closed.token_expired, 1, `${name}: though the client sends nothing`)
    app.clock.exit()
  }
})

t.test('claims that were revoked in the meantime close the connection', async (t) => {
  const app = await startChecked(t, () => ({ ...CLAIMS, jti: 'second' }))
  const chat = await app.connect(sign({ ...CLAIMS, jti: 'first' }))
  await app.app.wsAuth.revoke({ jti: 'second' })
  await app.pass()
  t.same(await closeOf(app, chat), { code: 3000, reason: 'token_revoked' })
})

t.test('a check that fails is logged, and closes only if onFailure says so', async (t) => {
  const failures: Record<string, Check> = {
    throws: () => { throw new Error('the database is down') },
    rejects: async () => await Promise.reject(new Error('the database is down')),
    'throws no error': () => { throw undefined }, // eslint-disable-line no-throw-literal
    'refuses by a status': () => { throw Object.assign(new Error('the client secret is wrong'), { statusCode: 401 }) },
    'returns claims that cannot be read': () => ({ get sub () { throw new Error('no') } })
  }
  for (const [name, check] of Object.entries(failures)) {
    const kept = await startChecked(t, check)
    const chat = await kept.connect(sign(CLAIMS))
    await kept.pass()
    t.match(warningsIn(kept), [{ level: 40, connectionId: chat.connection.id, sub: 'ann', skipped: 0 }], name)
    t.ok(await chat.isHeard(), name)
    kept.clock.exit()

    const closing = await startChecked(t, check, {}, 'close')
    const closed = await closing.connect(sign(CLAIMS))
    await closing.pass()
    t.same(await closeOf(closing, closed), { code: 4503, reason: 'auth_unavailable' }, name)
    t.match(closed.received.at(-1), '"auth.retry"')
    closing.clock.exit()
  }
})

t.test('the line of a check that fails has the error without its request, which may have the token', async (t) => {
  const error = Object.assign(new Error('the issuer is down'), { code: 'ECONNREFUSED', config: { headers: { authorization: 'Bearer the-token' } } })
  for (const thrown of [error, new fastifyWsAuth.WsAuthError('WS_AUTH_UNAVAILABLE', { cause: error })]) {
    const app = await startChecked(t, () => { throw thrown })
    await app.connect(sign(CLAIMS))
    await app.pass()
    t.match(warningsIn(app), [{ err: { message: 'the issuer is down', code: 'ECONNREFUSED' } }])
    t.notMatch(app.log.join(), 'the-token')
    app.clock.exit()
  }
})

t.test('nothing else is asked about the claims of an answer that comes too late', async (t) => {
  const held = hold()
  let users = 0
  const app = await startChecked(t, async () => {
    await held.wait()
    return CLAIMS
  }, { plugin: { user: (claims) => { users++; return claims as never } } })
  const chat = await app.connect(sign(CLAIMS))
  t.equal(users, 1)
  await app.clock.pass(EVERY + 200)
  chat.connection.close()
  held.release()
  await app.clock.pass(100)
  t.equal(users, 1)
})

t.test('a WsAuthError of check decides', async (t) => {
  const codes: Array<[fastifyWsAuth.WsAuthErrorCode, code: number, reason: string]> = [
    ['WS_AUTH_TOKEN_REVOKED', 3000, 'token_revoked'],
    ['WS_AUTH_TOKEN_INVALID', 3000, 'token_revoked'],
    ['WS_AUTH_TOKEN_EXPIRED', 3000, 'token_expired'],
    ['WS_AUTH_FORBIDDEN', 3003, 'forbidden']
  ]
  for (const [code, closeCode, reason] of codes) {
    const app = await startChecked(t, () => { throw new fastifyWsAuth.WsAuthError(code) })
    const chat = await app.connect(sign(CLAIMS))
    await app.pass()
    t.same(await closeOf(app, chat), { code: closeCode, reason }, code)
    app.clock.exit()
  }
})

t.test('a check that never settles is given up after handshakeTimeout, and asked again', async (t) => {
  const signals: AbortSignal[] = []
  const app = await startChecked(t, async (_connection, { signal }) => {
    signals.push(signal)
    if (signals.length === 1) await new Promise(() => {})
    return true
  }, { plugin: { handshakeTimeout: 3000 } })
  const chat = await app.connect(sign(CLAIMS))
  await app.clock.pass(EVERY + 200)
  t.same(signals.map(({ aborted }) => aborted), [false])
  await app.clock.pass(3100)
  await eventually(app.clock, () => signals[0]?.aborted === true, 'the end of the wait')
  await eventually(app.clock, () => warningsIn(app).length === 1, 'the line')
  t.match(warningsIn(app), [{ err: { message: 'the recheck took longer than 3000 ms' } }])
  await app.clock.pass(EVERY)
  t.same(signals.map(({ aborted }) => aborted), [true, false])
  t.ok(await chat.isHeard())
})

t.test('a check that is slower than the interval is never called twice at once for a connection', async (t) => {
  let underWay = 0
  const held = hold()
  const app = await startChecked(t, async () => {
    t.equal(++underWay, 1)
    await held.wait()
    underWay--
    return true
  }, { plugin: { handshakeTimeout: 20 * EVERY } })
  const chat = await app.connect(sign(CLAIMS))
  await app.clock.pass(5 * EVERY)
  t.equal(app.asked.length, 1)
  held.release()
  await app.clock.pass(EVERY + 200)
  t.equal(app.asked.length, 2)
  t.ok(await chat.isHeard())
})

t.test('a renewal and a close meanwhile win', async (t) => {
  const held = hold()
  const signals: AbortSignal[] = []
  const app = await startChecked(t, async (connection, { signal }) => {
    signals.push(signal)
    await held.wait()
    return connection.sub === 'bea' ? { sub: 'bea', iat: IAT } : false
  })
  const [ann, bea, closed] = [await app.connect(sign(CLAIMS)), await app.connect(sign({ sub: 'bea', iat: IAT })), await app.connect(sign({ ...CLAIMS, sub: 'cyd' }))]
  await app.clock.pass(EVERY + 200)
  await eventually(app.clock, () => app.asked.length === 3, 'all three are asked about')
  await ann.connection.renew(sign({ ...CLAIMS, iat: IAT + 1, jti: 'newer' }))
  await bea.connection.renew(sign({ sub: 'bea', iat: IAT + 1, jti: 'newer' }))
  closed.connection.close(4000, 'bye')
  t.ok(signals[app.asked.indexOf(closed.connection)]?.aborted, 'the check of a closed connection is aborted')
  held.release()
  await app.clock.pass(100)
  t.same(await closeOf(app, closed), { code: 4000, reason: 'bye' })
  t.ok(await ann.isHeard())
  t.match([ann.connection.claims, bea.connection.claims], [{ jti: 'newer' }, { jti: 'newer' }])
  t.same(warningsIn(app), [])
  await app.pass()
  t.same(await closeOf(app, ann), { code: 3000, reason: 'token_revoked' }, 'the newer token is asked about at the next turn')
})

t.test('an anonymous connection is not asked about', async (t) => {
  const app = await startChecked(t, () => false, { wsAuth: 'optional' })
  const anonymous = await app.connect(null)
  const ann = await app.connect(sign(CLAIMS))
  await app.pass()
  t.same(app.asked, [ann.connection])
  t.ok(await anonymous.isHeard())
  await passUntil(app.clock, 0, 'the end', app.app.close())
})
