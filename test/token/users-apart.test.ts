/*
 * Handshakes of several users that are verified at the same moment: each is admitted or refused by its own token. @fastify/jwt calls
 * `formatUser` without the request, and its cache has one object for all who have a token: neither may give one user the data of another.
 */
import type { FastifyJWTOptions } from '@fastify/jwt'
import t from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { SECRET, sign, start, until } from '../helpers/app'
import { RawClient } from '../helpers/raw-client'
import { uncaughtErrors } from '../helpers/uncaught'
import { statsOf } from '../helpers/stats'

const UNAVAILABLE = '{"statusCode":503,"code":"WS_AUTH_UNAVAILABLE","error":"Service Unavailable","message":"Authentication is unavailable"}'

type Callback = (error: Error | null, key: string) => void

const KEYS: Record<string, unknown> = {
  'a fixed key': SECRET,
  'a function that calls back': (_request: unknown, _token: unknown, callback: Callback) => { callback(null, SECRET) },
  'an async function': async () => SECRET
}
const CACHES: Record<string, fastifyWsAuth.WsAuthOptions> = {
  'the cache of @fastify/jwt': {},
  'the cache of @fastify/jwt and tokenCache': { tokenCache: { max: 10, ttl: 60_000 } }
}
/** In which order `trusted` answers for those who wait. */
const ORDERS: Record<string, (waiting: Array<() => void>) => Promise<void>> = {
  'in one turn, as they came': async (waiting) => { for (const answer of waiting.splice(0)) answer() },
  'in one turn, the last first': async (waiting) => { for (const answer of waiting.splice(0).reverse()) answer() },
  'one after the other': async (waiting) => {
    for (const answer of waiting.splice(0)) {
      answer()
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
}

const USERS = ['ann', 'eve', 'bob', 'eve', 'ann'] as const
const TOKENS = Object.fromEntries(USERS.map((sub) => [sub, sign({ sub, secretOf: sub })]))

for (const [key, secret] of Object.entries(KEYS)) {
  for (const [cache, plugin] of Object.entries(CACHES)) {
    t.test(`a formatUser that throws for one user refuses that user alone, with ${key} and ${cache}`, async (t) => {
      const waiting: Array<() => void> = []
      const jwt = {
        secret,
        verify: { cache: true },
        trusted: async () => { await new Promise<void>((resolve) => waiting.push(resolve)); return true },
        formatUser: (claims: { sub: string, secretOf: string }) => {
          if (claims.sub === 'eve') throw new Error(`no user for ${claims.sub}`)
          return { name: claims.sub, has: claims.secretOf }
        }
      } as unknown as FastifyJWTOptions
      const { app, port, log } = await start(t, {
        plugin: { ...plugin, jwt },
        routes: (app) => {
          app.get('/chat', { websocket: true }, (socket, { user, wsAuth }) => { socket.send(JSON.stringify({ user, claims: wsAuth?.claims })) })
        }
      })
      const isCached = new Set<string>()
      for (const [order, answerAll] of Object.entries(ORDERS)) {
        const clients = await Promise.all(USERS.map(async () => await RawClient.open(t, port)))
        for (const [i, client] of clients.entries()) client.upgrade({ path: '/chat', headers: { authorization: `Bearer ${TOKENS[USERS[i] as string]}` } })
        const asked = USERS.filter((sub) => !isCached.has(sub)).length
        await until(() => waiting.length === asked, 'all are asked about')
        await answerAll(waiting)
        for (const [i, sub] of USERS.entries()) {
          const client = clients[i] as RawClient
          const { status, body } = await client.response()
          if (sub === 'eve') t.equal(`${status} ${body}`, `503 ${UNAVAILABLE}`, `${sub} is refused, ${order}`)
          else {
            t.equal(status, 101, `${sub} is admitted, ${order}`)
            t.match(JSON.parse(String((await client.frame()).payload)), { user: { name: sub, has: sub }, claims: { sub, secretOf: sub } })
          }
          client.socket.destroy()
        }
        if (plugin.tokenCache !== undefined) for (const sub of ['ann', 'bob']) isCached.add(sub)
      }
      const { accepted, refused, pending } = statsOf(app)
      t.strictSame({ accepted, refused, pending }, { accepted: 9, refused: { WS_AUTH_UNAVAILABLE: 6 }, pending: 0 })
      const lines = log.map((line) => JSON.parse(line) as { level: number, event?: string, err?: { message: string } }).filter(({ event }) => event === 'refused')
      t.strictSame(lines.map(({ level, err }) => [level, err?.message]), Array(6).fill([50, 'no user for eve']), 'the log says why')
    })
  }
}

t.test('a formatUser that throws causes no uncaught error', async (t) => {
  t.strictSame(uncaughtErrors(), [])
})
