/*
 * A route that is declared with the options of another, as an onRoute hook or a request has them: the plugin keeps its policy in the
 * `config` of a route, and a copy of that is no policy of the new one. Each route is guarded as its own `wsAuth` says.
 */
import type { FastifyInstance, RouteOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { sign, start, until } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { plainText, RawClient, upgrade } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

type Route = RouteOptions & { wsAuth?: unknown }
/** What is copied of a route that was declared. */
type Copy = (declared: Route) => object

const MEMBER = { authorization: `Bearer ${sign({ sub: 'ann', roles: ['member'] })}` }
const ADMIN = { authorization: `Bearer ${sign({ sub: 'ada', roles: ['admin'] })}` }
const CLIENTS = { anonymous: {}, member: MEMBER, admin: ADMIN }
const KEY = { 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', 'sec-websocket-version': '13' }

const COPIES: Record<string, Copy> = {
  'its config': ({ config }) => ({ config }),
  'its config by spread': ({ config }) => ({ config: { ...config } }),
  'all of its options': (declared) => {
    // Without those that name the route.
    const { url, path, method, handler, wsHandler, wsAuth, websocket, ...rest } = declared as Route & { path?: string, websocket?: boolean }
    return rest
  },
  'all of its options and properties': (declared) => Object.defineProperties({}, Object.fromEntries(
    Object.entries(Object.getOwnPropertyDescriptors(declared)).filter(([name]) => !['url', 'path', 'method', 'handler', 'wsHandler', 'wsAuth', 'websocket'].includes(name))))
}

/** The policies of the routes that are declared, and the statuses of an upgrade by an anonymous client, a member and an admin. */
const POLICIES: Array<[policy: unknown, statuses: number[]]> = [
  [undefined, [401, 101, 101]],
  [true, [401, 101, 101]],
  [false, [101, 101, 101]],
  ['optional', [101, 101, 101]],
  [{ roles: ['admin'] }, [401, 403, 101]]
]

async function statusesOf (t: Test, port: number, path: string): Promise<number[]> {
  const statuses: number[] = []
  for (const headers of Object.values(CLIENTS)) {
    const { answer, socket } = await upgrade(t, port, { path, headers })
    statuses.push(answer.status)
    socket.destroy()
  }
  return statuses
}

/** Statuses of plain requests, with and without the headers of a handshake that lost its Upgrade. */
async function plainOf (t: Test, port: number, path: string): Promise<number[]> {
  const statuses: number[] = []
  for (const more of [{}, KEY]) {
    for (const headers of Object.values(CLIENTS)) {
      const client = await RawClient.open(t, port)
      statuses.push((await client.send(plainText({ path, headers: { ...headers, ...more } })).response()).status)
      client.socket.destroy()
    }
  }
  return statuses
}

/** An app that has declared `/source`, with this policy or as the route for tickets, and what an onRoute hook has seen of it. */
async function startWith (t: Test, source: unknown, when: 'before' | 'after', declare: (app: FastifyInstance, declared: Route) => void): Promise<StartedApp> {
  let declared: Route | undefined
  const keep = (app: FastifyInstance): void => { app.addHook('onRoute', (route) => { if (route.url === '/source') declared = route }) }
  return await start(t, {
    plugin: { tickets: source === 'ticket' ? { path: '/source' } : false },
    before: (app) => { if (when === 'before') keep(app) },
    routes: (app) => {
      if (when === 'after') keep(app)
      if (source === 'http') app.get('/source', async () => 'source')
      else if (source !== 'ticket') app.get('/source', { websocket: true, wsAuth: source } as object, () => {})
      declare(app, declared as Route)
    }
  })
}

for (const when of ['before', 'after'] as const) {
  for (const [what, copy] of Object.entries(COPIES)) {
    t.test(`a websocket route that has ${what} from another is guarded by its own policy: the onRoute hook was added ${when} the plugin`, async (t) => {
      const sources = [...POLICIES.map(([policy]) => policy), 'http', ...when === 'before' ? ['ticket'] : []]
      for (const source of sources) {
        const { app, port } = await startWith(t, source, when, (app, declared) => {
          for (const [i, [wsAuth]] of POLICIES.entries()) {
            app.get(`/copy${i}`, { ...copy(declared), websocket: true, ...wsAuth === undefined ? {} : { wsAuth } } as object, () => {})
          }
        })
        for (const [i, [policy, expected]] of POLICIES.entries()) {
          t.strictSame(await statusesOf(t, port, `/copy${i}`), expected, `${JSON.stringify(policy)} copied from ${JSON.stringify(source)}`)
          const plain = expected.map((status) => status === 101 ? 426 : status)
          t.strictSame(await plainOf(t, port, `/copy${i}`), [...plain, ...plain], `a dry run of ${JSON.stringify(policy)} copied from ${JSON.stringify(source)}`)
        }
        await until(() => statsOf(app).pending === 0, 'nothing that waits')
        await app.close()
      }
    })
  }

  t.test(`a plain route that has the config of a websocket route stays a plain route: the onRoute hook was added ${when} the plugin`, async (t) => {
    for (const source of [true, { roles: ['admin'] }, false, 'optional']) {
      for (const name of ['its config', 'its config by spread'] as const) {
        const { port } = await startWith(t, source, when, (app, declared) => {
          app.get('/copy', { ...COPIES[name]?.(declared) }, async ({ user }) => ({ user }))
        })
        t.strictSame(await plainOf(t, port, '/copy'), Array(6).fill(200), JSON.stringify(source))
        t.strictSame(await statusesOf(t, port, '/copy'), [404, 404, 404], JSON.stringify(source))
      }
    }
  })
}

t.test('a route does not take its policy from the config of a request', async (t) => {
  let config: object | undefined
  const { app: first } = await start(t, {
    routes: (app) => {
      app.get('/public', { websocket: true, wsAuth: false, preHandler: async ({ routeOptions }) => { config = routeOptions.config } }, () => {})
    }
  })
  t.equal((await first.inject('/public')).statusCode, 426)
  t.ok(config, 'the config was kept')
  const { port } = await start(t, {
    routes: (app) => {
      app.get('/guarded', { websocket: true, config }, () => {})
      app.get('/admin', { websocket: true, wsAuth: { roles: ['admin'] }, config: { ...config } } as object, () => {})
    }
  })
  t.strictSame(await statusesOf(t, port, '/guarded'), [401, 101, 101])
  t.strictSame(await statusesOf(t, port, '/admin'), [401, 403, 101])
})
