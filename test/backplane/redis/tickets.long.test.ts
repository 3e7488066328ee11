/*
 * Tickets of several instances, by a real Redis: used at once by many, expired, overwritten, and without an answer of Redis.
 */
import Fastify from 'fastify'
import type { RedisOptions } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type { BackplaneLink } from '../../../lib/backplane/contract'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import { Tickets } from '../../../lib/authentication/tickets'
import { reasonToSkip, startRedis } from '../../helpers/redis'
import type { RedisServer } from '../../helpers/redis'
import { ANN, BEARER, codeIn, dryRun, handshake, keyOf, startInstance, startInstances, ticketOf } from '../../helpers/ticket-instances'
import type { Chat } from '../../helpers/ticket-instances'
import { statsOf } from '../../helpers/stats'

const RULES = { required: [], clockTolerance: 0, checkExpiry: true, checkNotBefore: true, maxAge: null }

/** Commands fail at once where Redis is not there. */
const IMPATIENT: RedisOptions = { enableOfflineQueue: false, maxRetriesPerRequest: 0 }

/** An instance that has nothing but its link. */
async function join (t: Test, redis: RedisServer, id: string): Promise<BackplaneLink> {
  const client = redis.client()
  const link = redisBackplane({ client }).join({ id, log: Fastify().log, apply: () => 0, revocations: () => [], onOutage: () => {} })
  t.teardown(async () => await link.leave())
  await link.ready
  return link
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

/** Waits for something that has to be asked for. */
async function untilAsked (ask: () => Promise<boolean>): Promise<void> {
  while (!await ask()) {
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

t.test('exactly one of 100 uses of a ticket on three instances gets it, 1,000 times', { skip: reasonToSkip() }, async (t) => {
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

t.test('exactly one of 100 handshakes with one ticket on three instances is accepted', { skip: reasonToSkip() }, async (t) => {
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
  t.equal(instances.reduce((sum, { app }) => sum + statsOf(app).accepted, 0), 12)
})

t.test('a ticket is gone after its ttl', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const client = redis.client()
  const chat = await startInstance(t, redis, { tickets: { ttl: 2000 } })
  const ticket = await ticketOf(chat)
  t.equal(await client.exists(keyOf(ticket)), 1)
  await untilAsked(async () => await client.exists(keyOf(ticket)) === 0)
  t.equal(await handshake(t, chat, `/chat?ticket=${ticket}`), '401 WS_AUTH_TICKET_INVALID')
})

t.test('a value that replaces a ticket in Redis is refused', { skip: reasonToSkip() }, async (t) => {
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

t.test('tickets are unavailable without Redis, and come back with it', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t, { isPersistent: true })
  const chat = await startInstance(t, redis, {}, IMPATIENT)
  const before = await ticketOf(chat)
  await redis.stop()
  await t.rejects(chat.app.wsAuth.issueTicket(ANN), { name: 'FastifyError', code: 'WS_AUTH_UNAVAILABLE' })
  const response = await chat.app.inject({ method: 'POST', url: '/ws-ticket', headers: BEARER })
  t.equal(response.statusCode, 503)
  t.same(response.json(), { statusCode: 503, code: 'WS_AUTH_UNAVAILABLE', error: 'Service Unavailable', message: 'Authentication is unavailable' })
  t.equal(await dryRun(chat.app, `/chat?ticket=${before}`), '503 WS_AUTH_UNAVAILABLE')
  t.equal(await handshake(t, chat, `/chat?ticket=${before}`), '503 WS_AUTH_UNAVAILABLE')
  t.equal(chat.app.wsAuth.connections.size, 0)
  await redis.start()
  await untilAsked(async () => await dryRun(chat.app, `/chat?ticket=${before}`) === '426')
  t.equal(await handshake(t, chat, `/chat?ticket=${before}`), '101', 'a ticket that was not spent is good still')
  t.equal(await handshake(t, chat, `/chat?ticket=${await ticketOf(chat)}`), '101')
})

t.test('tickets are refused if Redis does not answer for 5 s', { skip: reasonToSkip() }, async (t) => {
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
  t.equal(statsOf(chat.app).accepted, 0)
})
