/*
 * Tickets among many instances, by a real Redis: one of all that use a ticket has it, what stands in Redis is no ticket, and
 * whatever becomes of Redis is a refusal.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { RedisOptions } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type { BackplaneLink } from '../../../lib/backplane/contract'
import fastifyWsAuth from '../../../lib/index'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import { keysOf } from '../../../lib/backplane/redis/keys'
import { Tickets } from '../../../lib/authentication/tickets'
import { sign, start } from '../../helpers/app'
import type { StartedApp } from '../../helpers/app'
import { upgrade } from '../../helpers/raw-client'
import { reasonToSkip, startRedis } from '../../helpers/redis'
import type { RedisServer } from '../../helpers/redis'

type Options = fastifyWsAuth.WsAuthOptions

const ANN = { sub: 'ann', roles: ['member'] }
const BEARER = { authorization: `Bearer ${sign(ANN)}` }
const RULES = { required: [], clockTolerance: 0, checkExpiry: true, checkNotBefore: true, maxAge: null }
/** Commands fail at once where Redis is not there. */
const IMPATIENT: RedisOptions = { enableOfflineQueue: false, maxRetriesPerRequest: 0 }

interface Chat extends StartedApp {
  readonly opened: FastifyRequest[]
}

/** An instance of the app. */
async function startInstance (t: Test, redis: RedisServer, plugin: Options = {}, options: RedisOptions = {}): Promise<Chat> {
  const opened: FastifyRequest[] = []
  const client = redis.client(options)
  if (client.status !== 'ready') await once(client, 'ready')
  const started = await start(t, {
    plugin: { tickets: true, backplane: redisBackplane({ client }), ...plugin },
    routes: (app) => {
      const handler = (_socket: unknown, request: FastifyRequest): void => { opened.push(request) }
      app.get('/chat', { websocket: true }, handler)
      app.get('/admin', { websocket: true, wsAuth: { roles: ['admin'] } }, handler)
    }
  })
  return { ...started, opened }
}

async function startInstances (t: Test, redis: RedisServer, plugin: Options = {}): Promise<[Chat, Chat, Chat]> {
  return await Promise.all([startInstance(t, redis, plugin), startInstance(t, redis, plugin), startInstance(t, redis, plugin)])
}

/** An instance that has nothing but its link. */
async function join (t: Test, redis: RedisServer, id: string): Promise<BackplaneLink> {
  const client = redis.client()
  const link = redisBackplane({ client }).join({ id, log: Fastify().log, apply: () => 0, revocations: () => [], onOutage: () => {} })
  t.teardown(async () => await link.leave())
  await link.ready
  return link
}

async function ticketOf ({ app }: Chat, claims: object = ANN): Promise<string> {
  return (await app.wsAuth.issueTicket(claims)).ticket
}

async function handshake (t: Test, { port }: Chat, path: string): Promise<string> {
  const { status, body } = (await upgrade(t, port, { path })).answer
  return status === 101 ? '101' : `${status} ${codeIn(body)}`
}

/** The status of a handshake whose answer takes longer than others are waited for. */
async function patientHandshake ({ port }: Chat, path: string): Promise<number> {
  const client = new WebSocket(`ws://127.0.0.1:${port}${path}`)
  client.on('error', () => {})
  return await new Promise((resolve) => {
    client.on('open', () => resolve(101))
    client.on('unexpected-response', (request, { statusCode = 0 }) => { request.destroy(); resolve(statusCode) })
  })
}

async function dryRun (app: FastifyInstance, url: string): Promise<string> {
  const { statusCode, body } = await app.inject({ url })
  return statusCode === 426 ? '426' : `${statusCode} ${codeIn(body)}`
}

function codeIn (body: string): string {
  return String((JSON.parse(body) as { code?: string }).code)
}

/** Where a ticket is kept: under its SHA-256. */
function keyOf (ticket: string, prefix = 'fastify-ws-auth'): string {
  return keysOf(prefix).value(`ticket:${createHash('sha256').update(ticket).digest('base64url')}`)
}

/** Waits for something that has to be asked for. */
async function untilAsked (ask: () => Promise<boolean>, what: string, timeout = 20_000): Promise<void> {
  const deadline = Date.now() + timeout
  while (!await ask()) {
    if (Date.now() > deadline) throw new Error(`not within ${timeout} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

t.test('of 100 uses of one ticket on three instances exactly one has it, 1,000 times', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const links = await Promise.all(['one', 'two', 'three'].map(async (id) => await join(t, redis, id)))
  const instances = links.map((link) => new Tickets(link, 30_000, RULES))
  const use = { path: '/', origin: undefined, isSpent: true }
  let [exact, wrong] = [0, 0]
  for (let round = 0; round < 1000; round++) {
    const claims = { sub: `user ${round}` }
    const { ticket } = await (instances[round % 3] as Tickets).issue({ claims, user: claims }, {})
    const outcomes = await Promise.allSettled(Array.from({ length: 100 }, async (_, i) => await (instances[i % 3] as Tickets).read(ticket, use)))
    const won = outcomes.filter((outcome) => outcome.status === 'fulfilled')
    if (won.length === 1 && won[0]?.value.claims.sub === claims.sub) exact++
    wrong += outcomes.filter((outcome) => outcome.status === 'rejected' && outcome.reason?.code !== 'WS_AUTH_TICKET_INVALID').length
  }
  t.equal(exact, 1000)
  t.equal(wrong, 0)
})

t.test('of 100 handshakes with one ticket on three instances exactly one is accepted', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const instances = await startInstances(t, redis)
  for (let round = 0; round < 6; round++) {
    const path = `/chat?ticket=${await ticketOf(instances[round % 3] as Chat)}`
    const outcomes = await Promise.all(Array.from({ length: 100 }, async (_, i) => await handshake(t, instances[i % 3] as Chat, path)))
    t.equal(outcomes.filter((outcome) => outcome === '101').length, 1)
    t.equal(outcomes.filter((outcome) => outcome === '401 WS_AUTH_TICKET_INVALID').length, 99)
  }
  for (let round = 0; round < 6; round++) {
    const path = `/chat?ticket=${await ticketOf(instances[round % 3] as Chat)}`
    const outcomes = await Promise.allSettled(Array.from({ length: 100 }, async (_, i) => await (instances[i % 3] as Chat).app.injectWS(path)))
    t.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
  }
  t.equal(instances.reduce((sum, { app }) => sum + app.wsAuth.stats().accepted, 0), 12)
})

t.test('what stands in Redis is no ticket, and not for long', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const client = redis.client()
  const [one, two] = await startInstances(t, redis, { tickets: { ttl: 20_000 } })
  const response = await one.app.inject({ method: 'POST', url: '/ws-ticket', headers: BEARER })
  const { ticket } = response.json<{ ticket: string }>()
  const key = keyOf(ticket)
  const left = await client.pttl(key)
  t.ok(left > 0 && left <= 20_000, `kept for ${left} ms`)
  const value = await client.get(key)
  t.match(JSON.parse(String(value)), { claims: ANN })
  const keys = await client.keys('*')
  t.ok(keys.includes(key))
  const dumps = await Promise.all(keys.map(async (each) => await client.dumpBuffer(each)))
  const all = Buffer.concat(dumps).toString('latin1') + keys.join()
  t.ok(all.includes('ann'), 'there is something to look at')
  for (const writing of [ticket, Buffer.from(ticket, 'base64url').toString('latin1'), Buffer.from(ticket, 'base64url').toString('hex')]) t.notOk(all.includes(writing))
  const hash = key.slice(-43)
  t.equal(await handshake(t, two, `/chat?ticket=${hash}`), '401 WS_AUTH_TICKET_INVALID', 'who reads it has none')
  t.equal(await handshake(t, two, `/chat?ticket=${ticket}`), '101')
  t.equal(await client.exists(key), 0, 'nothing is left of one that was spent')
})

t.test('a dry run on another instance does not spend a ticket', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const [one, two, three] = await startInstances(t, redis)
  const path = `/chat?ticket=${await ticketOf(one)}`
  const answers = await Promise.all(Array.from({ length: 20 }, async (_, i) => await dryRun((i % 2 === 0 ? two : three).app, path)))
  t.ok(answers.every((answer) => answer === '426'))
  const [accepted, ...beside] = await Promise.all([handshake(t, two, path), ...Array.from({ length: 20 }, async () => await dryRun(three.app, path))])
  t.equal(accepted, '101')
  t.ok(beside.every((answer) => answer === '426' || answer === '401 WS_AUTH_TICKET_INVALID'))
  t.equal(await dryRun(one.app, path), '401 WS_AUTH_TICKET_INVALID')
})

t.test('a ticket is gone after its ttl', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const client = redis.client()
  const chat = await startInstance(t, redis, { tickets: { ttl: 2000 } })
  const ticket = await ticketOf(chat)
  t.equal(await client.exists(keyOf(ticket)), 1)
  await untilAsked(async () => await client.exists(keyOf(ticket)) === 0, 'it is gone')
  t.equal(await handshake(t, chat, `/chat?ticket=${ticket}`), '401 WS_AUTH_TICKET_INVALID')
})

t.test('what is revoked on one instance is revoked behind a ticket on another', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const [one, two, three] = await startInstances(t, redis)
  for (const [match, claims] of [[{ jti: 'a' }, { jti: 'a', sub: 'x' }], [{ sid: 'b' }, { sid: 'b' }], [{ sub: 'c' }, { sub: 'c' }]] as Array<[fastifyWsAuth.RevokeMatch, object]>) {
    const [open, late] = [await ticketOf(one, claims), await ticketOf(one, claims)]
    const client = await upgrade(t, two.port, { path: `/chat?ticket=${open}` })
    t.equal(client.answer.status, 101)
    t.match(await three.app.wsAuth.revoke(match), { closed: 1 })
    const { opcode, payload } = await client.frame()
    t.equal(`${opcode} ${payload.readUInt16BE(0)} ${payload.subarray(2)}`, '8 3000 token_revoked')
    t.equal(await handshake(t, two, `/chat?ticket=${late}`), '401 WS_AUTH_TOKEN_REVOKED')
  }
})

t.test('apps of other prefixes have other tickets', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const [mine, other] = await Promise.all(['mine', 'other'].map(async (prefix) => {
    return await startInstance(t, redis, { backplane: redisBackplane({ client: redis.client(), prefix }) })
  })) as [Chat, Chat]
  const ticket = await ticketOf(mine)
  t.equal(await redis.client().exists(keyOf(ticket, 'mine')), 1)
  t.equal(await handshake(t, other, `/chat?ticket=${ticket}`), '401 WS_AUTH_TICKET_INVALID')
  t.equal(await handshake(t, mine, `/chat?ticket=${ticket}`), '101')
})

t.test('what somebody has put in place of a ticket is refused', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const client = redis.client()
  const chat = await startInstance(t, redis)
  const past = Math.floor(Date.now() / 1000) - 60
  const INVALID = '401 WS_AUTH_TICKET_INVALID'
  const REFUSED = '401 WS_AUTH_TOKEN_INVALID'
  const values: Array<[string, string]> = [
    ['', INVALID], ['null', INVALID], ['true', INVALID], ['1', INVALID], ['"x"', INVALID], ['[]', INVALID], ['{}', INVALID], ['{"claims":', INVALID], ['\xff\xfe\0', INVALID],
    ['{"claims":null}', INVALID], ['{"claims":[]}', INVALID], ['{"claims":"ann"}', INVALID], ['[{"claims":{"sub":"ann"}}]', INVALID],
    ['{"claims":{"sub":"ann"},"path":null}', INVALID], ['{"claims":{"sub":"ann"},"path":["/chat"]}', INVALID], ['{"claims":{"sub":"ann"},"origin":0}', INVALID],
    ['{"claims":{"sub":"ann"},"path":"/other"}', INVALID],
    ['{"claims":{"sub":1}}', REFUSED], ['{"claims":{"sub":"ann","exp":"x"}}', REFUSED], ['{"claims":{"sub":"ann","exp":1e999}}', REFUSED], ['{"claims":{"sub":"ann","iat":99999999999}}', REFUSED],
    ['{"claims":{"sub":"ann"},"user":null}', REFUSED],
    [`{"claims":{"sub":"ann","exp":${past}}}`, '401 WS_AUTH_TOKEN_EXPIRED'],
    ['{"claims":{"sub":"ann","events":{"http://schemas.openid.net/event/backchannel-logout":{}}}}', REFUSED],
    ['{"claims":{"__proto__":{"roles":["admin"]}},"__proto__":{"claims":{"roles":["admin"]}}}', '403 WS_AUTH_FORBIDDEN'],
    ['{"__proto__":{"claims":{"roles":["admin"]}}}', INVALID],
    [`{"claims":{"sub":"ann","deep":${'['.repeat(100_000)}${']'.repeat(100_000)}}}`, '403 WS_AUTH_FORBIDDEN']
  ]
  for (const [value, expected] of values) {
    const ticket = await ticketOf(chat)
    await client.set(keyOf(ticket), value, 'PX', 30_000)
    t.equal(await dryRun(chat.app, `/admin?ticket=${ticket}`), expected, `${value.slice(0, 70)}: dry run`)
    t.equal(await handshake(t, chat, `/admin?ticket=${ticket}`), expected, value.slice(0, 70))
    t.equal(await client.exists(keyOf(ticket)), 0, 'and spent')
  }
  const ticket = await ticketOf(chat)
  await client.del(keyOf(ticket))
  await client.rpush(keyOf(ticket), 'a', 'list')
  t.equal(await handshake(t, chat, `/chat?ticket=${ticket}`), '503 WS_AUTH_UNAVAILABLE', 'a value of another kind')
  t.equal(chat.opened.length, 0)
  t.equal(await handshake(t, chat, `/chat?ticket=${await ticketOf(chat)}`), '101', 'and all goes on')
})

t.test('without Redis there are no tickets, and they come back with it', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t, { isPersistent: true })
  const chat = await startInstance(t, redis, {}, IMPATIENT)
  const before = await ticketOf(chat)
  await redis.stop()
  await t.rejects(chat.app.wsAuth.issueTicket(ANN), { name: 'WsAuthError', code: 'WS_AUTH_UNAVAILABLE' })
  const response = await chat.app.inject({ method: 'POST', url: '/ws-ticket', headers: BEARER })
  t.equal(response.statusCode, 503)
  t.same(response.json(), { statusCode: 503, code: 'WS_AUTH_UNAVAILABLE', error: 'Service Unavailable', message: 'Authentication is unavailable' })
  t.equal(await dryRun(chat.app, `/chat?ticket=${before}`), '503 WS_AUTH_UNAVAILABLE')
  t.equal(await handshake(t, chat, `/chat?ticket=${before}`), '503 WS_AUTH_UNAVAILABLE')
  t.equal(chat.app.wsAuth.connections.size, 0)
  await redis.start()
  await untilAsked(async () => await dryRun(chat.app, `/chat?ticket=${before}`) === '426', 'Redis is found again')
  t.equal(await handshake(t, chat, `/chat?ticket=${before}`), '101', 'a ticket that was not spent is good still')
  t.equal(await handshake(t, chat, `/chat?ticket=${await ticketOf(chat)}`), '101')
})

t.test('where Redis does not answer, tickets are refused after 5 s', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const chat = await startInstance(t, redis)
  const ticket = await ticketOf(chat)
  redis.pause()
  t.teardown(() => redis.resume())
  const outcomes = await Promise.all([
    patientHandshake(chat, `/chat?ticket=${ticket}`),
    dryRun(chat.app, `/chat?ticket=${ticket}`),
    chat.app.wsAuth.issueTicket(ANN).catch(({ code }: { code: string }) => code),
    chat.app.inject({ method: 'POST', url: '/ws-ticket', headers: BEARER }).then(({ statusCode, body }) => `${statusCode} ${codeIn(body)}`)
  ])
  redis.resume()
  t.same(outcomes, [503, '503 WS_AUTH_UNAVAILABLE', 'WS_AUTH_UNAVAILABLE', '503 WS_AUTH_UNAVAILABLE'])
  t.equal(chat.app.wsAuth.connections.size, 0)
  t.equal(chat.app.wsAuth.stats().accepted, 0)
})
