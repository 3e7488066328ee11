/*
 * Tickets that the app issues, of whatever claims, and a backplane that fails.
 */
import { inspect } from 'node:util'
import t from 'tap'
import { onDecision } from '../helpers/decisions'
import { mint, secret } from '../helpers/keys'
import { eventually } from '../helpers/moved-clock'
import { ANN, ask, backplaneWith, bearer, dryRun, handshake, never, seconds, startChat, startTimedChat, TICKET, TTL } from '../helpers/ticket-chat'
import { statsOf } from '../helpers/stats'

t.test('no two tickets are alike', async (t) => {
  const { ticket } = await startChat(t)
  const all = await Promise.all(Array.from({ length: 1000 }, async () => await ticket()))
  t.equal(new Set(all).size, 1000)
  t.ok(all.every((one) => TICKET.test(one)))
})

/** Deeper than JSON.stringify goes, in versions of Node.js before 26. */
const TOO_DEEP = 20_000

function nested (depth: number): object {
  return JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`) as object
}

function writesAnyDepth (): boolean {
  try {
    return JSON.stringify(nested(TOO_DEEP)).length > 0
  } catch {
    return false
  }
}

t.test('issueTicket makes a ticket of the claims of the app', async (t) => {
  const { app, port, opened, ticket } = await startChat(t, {}, { wsAuth: { roles: ['member'] } })
  const issue = app.wsAuth.issueTicket as (claims: unknown, options?: unknown) => Promise<{ ticket: string, expiresIn: number }>

  await t.test('issueTicket resolves to a ticket and the time that it is good for', async (t) => {
    const answer = await issue(ANN)
    t.same(Object.keys(answer), ['ticket', 'expiresIn'])
    t.match(answer, { ticket: TICKET, expiresIn: TTL })
  })

  await t.test('issueTicket sets iat to the present if the claims have none', async (t) => {
    const before = seconds()
    await handshake(t, port, `/chat?ticket=${await ticket()}`)
    await handshake(t, port, `/chat?ticket=${await ticket({ ...ANN, iat: 1 })}`)
    const [iat, given] = opened.slice(-2).map(({ wsAuth }) => wsAuth?.claims?.iat)
    t.ok(Number.isInteger(iat) && Number(iat) >= before && Number(iat) <= seconds())
    t.equal(given, 1)
  })

  await t.test('issueTicket throws a TypeError for wrong claims or a wrong binding', async (t) => {
    const circular: Record<string, unknown> = { ...ANN }
    circular.self = circular
    for (const claims of [undefined, null, 'ann', 1, [], [ANN], () => ANN, circular, { ...ANN, big: 1n }]) {
      await t.rejects(issue(claims), { name: 'TypeError' }, inspect(claims))
    }
    for (const options of [null, 1, '/chat', [], { path: 'chat' }, { path: '/chat?' }, { path: null }, { origin: 'https://example.com/' }, { origin: 'null' }, { ttl: 1 }, { paths: ['/chat'] }]) {
      await t.rejects(issue(ANN, options), { name: 'TypeError' }, inspect(options))
    }
    t.match(await issue(ANN, { path: undefined, origin: undefined }), { ticket: TICKET })
  })

  await t.test('issueTicket throws a TypeError for an exp in milliseconds', async (t) => {
    await t.rejects(issue({ ...ANN, exp: Date.now() + 60_000 }), { name: 'TypeError', message: '"claims.exp" must be in seconds since the epoch, not in milliseconds' })
  })

  await t.test('issueTicket refuses claims that no token may have', async (t) => {
    for (const [claims, code] of [
      [{ exp: seconds(-1) }, 'WS_AUTH_TOKEN_EXPIRED'],
      [{ exp: 0 }, 'WS_AUTH_TOKEN_EXPIRED'],
      [{ exp: '9999999999' }, 'WS_AUTH_TOKEN_INVALID'],
      [{ exp: Infinity }, 'WS_AUTH_TOKEN_INVALID'],
      [{ exp: NaN }, 'WS_AUTH_TOKEN_INVALID'],
      [{ exp: null }, 'WS_AUTH_TOKEN_INVALID'],
      [{ exp: new Date(Date.now() + 60_000) }, 'WS_AUTH_TOKEN_INVALID'],
      [{ sub: 1 }, 'WS_AUTH_TOKEN_INVALID'],
      [{ sub: ['ann'] }, 'WS_AUTH_TOKEN_INVALID'],
      [{ nbf: seconds(3600) }, 'WS_AUTH_TOKEN_INVALID'],
      [{ iat: seconds(3600) }, 'WS_AUTH_TOKEN_INVALID'],
      [{ iat: 'now' }, 'WS_AUTH_TOKEN_INVALID']
    ] as Array<[object, string]>) {
      await t.rejects(issue({ ...ANN, ...claims }), { name: 'FastifyError', code }, inspect(claims))
    }
  })

  await t.test('issueTicket keeps names of prototypes as plain claims', async (t) => {
    const admin = JSON.parse('{"sub":"ann","__proto__":{"roles":["member"]},"constructor":{"prototype":{"roles":["member"]}}}')
    t.equal(await handshake(t, port, `/chat?ticket=${await ticket(admin)}`), '403 WS_AUTH_FORBIDDEN')
    t.equal(({} as { roles?: unknown }).roles, undefined)
    t.equal(await handshake(t, port, `/chat?ticket=${await ticket({ ...admin, roles: ['member'] })}`), '101')
    t.ok(Object.hasOwn(opened.at(-1)?.wsAuth?.claims as object, '__proto__'))
    t.equal(Object.getPrototypeOf(opened.at(-1)?.wsAuth?.claims), Object.prototype)
  })

  await t.test('issueTicket takes claims of any depth, or refuses them by name', async (t) => {
    t.equal(await handshake(t, port, `/chat?ticket=${await ticket({ ...ANN, nested: nested(2500) })}`), '101')
    const deep = { ...ANN, nested: nested(TOO_DEEP) }
    if (writesAnyDepth()) t.equal(await handshake(t, port, `/chat?ticket=${await ticket(deep)}`), '101')
    else await t.rejects(issue(deep), { name: 'TypeError', message: '"claims" must be data that JSON can hold' })
  })

  await t.test('issueTicket takes all other values that JSON takes', async (t) => {
    const at = new Date(0)
    t.equal(await handshake(t, port, `/chat?ticket=${await ticket({ ...ANN, at, none: undefined, text: '\u2028"\\\ud800' })}`), '101')
    t.match(opened.at(-1)?.wsAuth?.claims, { at: '1970-01-01T00:00:00.000Z', text: '\u2028"\\\ud800' })
  })
})

t.test('POST /ws-ticket answers 503 if JSON cannot hold the claims of the verifier', async (t) => {
  const { app, port, log } = await startChat(t, { verify: () => ({ sub: 'ann', big: 1n }) })
  t.equal(await handshake(t, port, '/chat', { headers: { authorization: 'Bearer x' } }), '101')
  const response = await app.inject({ method: 'POST', url: '/ws-ticket', headers: { authorization: 'Bearer x' } })
  t.equal(response.statusCode, 503)
  t.equal(response.json().code, 'WS_AUTH_UNAVAILABLE')
  t.notMatch(response.body, /BigInt/)
  t.match(log.join(''), /BigInt/)
  t.equal(statsOf(app).refused.WS_AUTH_UNAVAILABLE, 1)
})

t.test('a deeply nested token gets a ticket, or 503 if JSON cannot write it', async (t) => {
  const { app, port } = await startChat(t, { jwt: { secret }, maxTokenBytes: 1_000_000 })
  const refused = writesAnyDepth() ? [200, undefined] as const : [503, 'WS_AUTH_UNAVAILABLE'] as const
  for (const [depth, status, code] of [[2900, 200, undefined], [TOO_DEEP, ...refused]] as const) {
    const headers = { authorization: `Bearer ${mint(`{"sub":"ann","nested":${'['.repeat(depth)}${']'.repeat(depth)}}`)}` }
    const answer = await ask(app, headers)
    t.match([answer.status, answer.code], [status, code], String(depth))
    if (status === 200) t.equal(await handshake(t, port, `/chat?ticket=${answer.ticket}`), '101')
    else t.equal(await dryRun(app, '/chat', headers), '426', 'a handshake has no need to write it')
  }
})

t.test('a backplane that fails makes tickets unavailable', async (t) => {
  const broken = async (): Promise<never> => { throw new Error('the wire is cut') }
  const thrown = (): never => { throw new Error('the wire is cut') }
  for (const [what, fail] of [['rejects', broken], ['throws', thrown]] as const) {
    await t.test(`a backplane that ${what} causes 503, and the reason is in the log alone`, async (t) => {
      const events: string[] = []
      const { app, port, log } = await startChat(t, { backplane: backplaneWith({ put: fail, take: fail, get: fail }) })
      onDecision(t, ({ event, code }) => { events.push(`${event} ${code}`) })
      await t.rejects(app.wsAuth.issueTicket(ANN), { name: 'FastifyError', code: 'WS_AUTH_UNAVAILABLE', cause: { message: 'the wire is cut' } })
      t.match(await ask(app), { status: 503, code: 'WS_AUTH_UNAVAILABLE' })
      t.same(events, ['refused WS_AUTH_UNAVAILABLE'])
      const path = `/chat?ticket=${'a'.repeat(43)}`
      t.equal(await handshake(t, port, path), '503 WS_AUTH_UNAVAILABLE')
      t.equal(await dryRun(app, path), '503 WS_AUTH_UNAVAILABLE')
      t.equal(statsOf(app).refused.WS_AUTH_UNAVAILABLE, 2)
      t.equal(log.filter((line) => line.includes('"event":"refused"') && line.includes('the wire is cut')).length, 3)
      t.equal(await handshake(t, port, '/chat', { headers: bearer() }), '101', 'tokens need none of it')
    })
  }

  await t.test('a backplane that never answers the use of a ticket causes 503 at handshakeTimeout', async (t) => {
    const { app, port } = await startChat(t, { handshakeTimeout: 50, backplane: backplaneWith({ take: never, get: never }) })
    const path = `/chat?ticket=${'a'.repeat(43)}`
    t.equal(await handshake(t, port, path), '503 WS_AUTH_UNAVAILABLE')
    t.equal(await dryRun(app, path), '503 WS_AUTH_UNAVAILABLE')
    t.equal(statsOf(app).pending, 0)
  })

  await t.test('a backplane that never answers the issue of a ticket causes 503 after 5 s', async (t) => {
    const { app, clock } = await startTimedChat(t, { backplane: backplaneWith({ put: never }) })
    const answers: string[] = []
    app.wsAuth.issueTicket(ANN).catch((error: { code: string }) => answers.push(error.code))
    void ask(app).then(({ status, code }) => answers.push(`${status} ${code}`))
    await clock.pass(4900, 500)
    t.same(answers, [])
    await clock.pass(1000)
    await eventually(clock, () => answers.length === 2, 'both are answered')
    t.same(answers.sort(), ['503 WS_AUTH_UNAVAILABLE', 'WS_AUTH_UNAVAILABLE'])
  })

  await t.test('a backplane that does not know the revocations causes 503 for a ticket', async (t) => {
    const { app, port } = await startChat(t, { backplane: backplaneWith({ isCurrent: false }) })
    t.match(await ask(app), { status: 503, code: 'WS_AUTH_UNAVAILABLE' })
    const { ticket } = await app.wsAuth.issueTicket(ANN)
    t.equal(await dryRun(app, `/chat?ticket=${ticket}`), '503 WS_AUTH_UNAVAILABLE')
    t.equal(await handshake(t, port, `/chat?ticket=${ticket}`), '503 WS_AUTH_UNAVAILABLE')
  })
})
