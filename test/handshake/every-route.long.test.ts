/*
 * Every websocket route of a server is guarded, said to be public, or refused: whatever scope, order, package or constraint
 * declared it. Each route is asked anonymously, by a handshake that is good but for its missing token.
 */
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyServerOptions, RouteOptions } from 'fastify'
import fastifyWebsocket from '@fastify/websocket'
import fp from 'fastify-plugin'
import fc from 'fast-check'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { SECRET, sign, until, within } from '../helpers/app'
import { holdsAsync } from '../helpers/arbitraries'
import { RawClient } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const GUARDED = '401 WS_AUTH_TOKEN_MISSING'
const FORBIDDEN = '403 WS_AUTH_FORBIDDEN'
const UNPROTECTED = '500 WS_AUTH_ROUTE_UNPROTECTED'
const NO_WEBSOCKET = '404 WS_AUTH_ROUTE_NOT_WEBSOCKET'
const NO_ROUTE = '404 undefined'
const OPEN = '101'
const ADMIN = { authorization: `Bearer ${sign({ sub: 'ada', roles: ['admin'] })}` }
const MEMBER = { authorization: `Bearer ${sign({ sub: 'ann', roles: ['member'] })}` }

/** What a route is asked with, what is answered if the plugin covers it, and whether its handler then runs. */
interface Asked {
  readonly path: string
  readonly headers?: Record<string, string>
  readonly covered: string
  readonly runs?: boolean
}

interface Server {
  readonly app: FastifyInstance
  /** The scope that the plugin is registered in. */
  scope: FastifyInstance
  readonly log: string[]
  /** The paths of all routes whose handler ran, for a socket or for a plain request. */
  readonly ran: string[]
  /** The answer that each path has to get. */
  readonly expected: Map<Asked, string>
}

function create (t: Test, options: FastifyServerOptions = {}): Server {
  const log: string[] = []
  const app = Fastify({ logger: { level: 'error', stream: { write: (line: string): void => { log.push(line) } } }, ...options })
  t.teardown(() => app.close())
  return { app, scope: app, log, ran: [], expected: new Map() }
}

async function listen ({ app }: Server): Promise<number> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as AddressInfo).port
}

/** Declares a route of each kind below a path of their own. */
function declare (server: Server, scope: FastifyInstance, at: string, isCovered: boolean): void {
  const add = (name: string, options: Record<string, unknown>, covered: string, more: Partial<Asked> = {}, pattern = ''): void => {
    const path = `/${at}/${name}`
    const run = (): void => { server.ran.push(path) }
    scope.route({ method: 'GET', url: path + pattern, handler: run, ...options } as RouteOptions)
    const asked = { covered, ...more, path: path + (more.path ?? '') }
    server.expected.set(asked, isCovered ? covered : UNPROTECTED)
  }
  const http = async (): Promise<string> => { server.ran.push(`/${at} by HTTP`); return 'http' }
  add('default', { websocket: true }, GUARDED)
  add('true', { websocket: true, wsAuth: true }, GUARDED)
  add('roles', { websocket: true, wsAuth: { roles: ['admin'] } }, GUARDED)
  add('roles-of-others', { websocket: true, wsAuth: { roles: ['admin'] } }, FORBIDDEN, { headers: MEMBER })
  add('wildcard', { websocket: true }, GUARDED, { path: '/a/b?c=d' }, '/*')
  add('param', { websocket: true }, GUARDED, { path: '/7' }, '/:id')
  add('pattern', { websocket: true }, GUARDED, { path: '/7' }, '/:id(^\\d+$)')
  add('optional', { websocket: true }, GUARDED, { path: '' }, '/:id?')
  add('host', { websocket: true, constraints: { host: 'a.example' } }, GUARDED, { headers: { host: 'a.example' } })
  add('any-host', { websocket: true, constraints: { host: /^.+\.example$/ } }, GUARDED, { headers: { host: 'b.example' } })
  add('version', { websocket: true, constraints: { version: '1.2.0' } }, GUARDED, { headers: { 'accept-version': '1.x' } })
  add('beside', { handler: http, wsHandler: () => { server.ran.push(`/${at} by wsHandler`) } }, GUARDED)
  add('head', { method: ['GET', 'HEAD'], websocket: true }, GUARDED)
  add('public', { websocket: true, wsAuth: false }, OPEN, { runs: true })
  add('anonymous', { websocket: true, wsAuth: 'optional' }, OPEN, { runs: true })
  add('message', { websocket: true, wsAuth: { renewal: true, token: { message: true } } }, OPEN)
  add('http', { handler: http }, NO_WEBSOCKET)
}

/** The answer to one anonymous handshake, when the server has let go of the socket. */
async function ask (t: Test, port: number, { path, headers = {} }: Pick<Asked, 'path' | 'headers'>): Promise<string> {
  const client = await RawClient.open(t, port)
  try {
    const { status, body } = await client.upgrade({ path, headers }).response()
    if (status === 101) return '101'
    await within(5000, 'the socket is closed', client.ended)
    const code = (JSON.parse(body === '' ? '{}' : body) as { code?: string }).code
    return `${status} ${code}`
  } catch (error) {
    return (error as Error).message
  } finally {
    client.socket.destroy()
  }
}

function connectionsOf ({ app }: Server): Promise<number> {
  return new Promise((resolve, reject) => app.server.getConnections((error, count) => error === null ? resolve(count) : reject(error)))
}

/** Asks all routes at once: each is answered as it has to be, no handler runs that must not, and nothing is left behind. */
async function askAll (t: Test, server: Server): Promise<void> {
  const port = await listen(server)
  const routes = [...server.expected]
  const answers = await Promise.all(routes.map(async ([asked]) => await ask(t, port, asked)))
  const of = (read: (asked: Asked, i: number) => string): Record<string, string> => Object.fromEntries(routes.map(([asked], i) => [asked.path, read(asked, i)]))
  t.strictSame(of((_asked, i) => String(answers[i])), of((asked) => String(server.expected.get(asked))), 'each route is guarded, public or refused')
  const runs = routes.filter(([{ runs }, answer]) => runs === true && answer === OPEN).map(([{ path }]) => path)
  t.strictSame(server.ran.sort(), runs.sort(), 'no handler runs but those of public routes')

  await until(() => statsOf(server.scope).pending === 0, 'nothing is pending')
  let open = 1
  for (let i = 0; i < 1000 && open > 0; i++) {
    open = await connectionsOf(server)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  t.equal(open, 0, 'no socket is left')
}

/** How the plugin is registered, and whether what stands behind it in the same scope is declared after it. */
const REGISTRATIONS: Record<string, { isWaitedFor: boolean, register: (scope: FastifyInstance) => PromiseLike<unknown> | void }> = {
  'with await': { isWaitedFor: true, register: (scope) => scope.register(fastifyWsAuth, { jwt: { secret: SECRET } }) },
  'without await': { isWaitedFor: false, register: (scope) => { void scope.register(fastifyWsAuth, { jwt: { secret: SECRET } }) } },
  'by a package of the app': {
    isWaitedFor: true,
    register: (scope) => scope.register(fp(async (inner: FastifyInstance) => { await inner.register(fastifyWsAuth, { jwt: { secret: SECRET } }) }))
  }
}

/** Scopes within scopes, with routes everywhere and the plugin in the scope of one level. */
async function grow (server: Server, depth: number, { isWaitedFor, register }: (typeof REGISTRATIONS)[string]): Promise<void> {
  const add = async (scope: FastifyInstance, plugin: (scope: FastifyInstance) => Promise<void>): Promise<void> => {
    const registered = scope.register(plugin)
    if (isWaitedFor) await registered
  }
  const level = async (scope: FastifyInstance, at: number): Promise<void> => {
    const isHere = at === depth
    declare(server, scope, `${at}-before`, false)
    await add(scope, async (child) => declare(server, child, `${at}-earlier-child`, false))
    if (isHere) {
      server.scope = scope
      await register(scope)
      declare(server, scope, `${at}-after`, isWaitedFor)
    } else {
      await add(scope, async (child) => await level(child, at + 1))
    }
    await add(scope, async (child) => {
      declare(server, child, `${at}-later-child`, isHere)
      await add(child, async (grandchild) => declare(server, grandchild, `${at}-later-grandchild`, isHere))
    })
    declare(server, scope, `${at}-last`, isHere && isWaitedFor)
  }
  await level(server.app, 0)
}

for (const depth of [0, 1, 2]) {
  for (const [how, registration] of Object.entries(REGISTRATIONS)) {
    t.test(`no anonymous client gets past the plugin that is registered at depth ${depth} ${how}`, async (t) => {
      const server = create(t)
      await grow(server, depth, registration)
      await askAll(t, server)
      const unprotected = [...server.expected].filter(([{ path }, answer]) => answer === UNPROTECTED && path.endsWith('/default'))
      for (const [{ path }] of unprotected) t.ok(server.log.some((line) => line.includes(path)), `the log names ${path}`)
    })
  }
}

t.test('the constraints of routes with one path in many scopes keep these routes apart', async (t) => {
  const server = create(t)
  const { app } = server
  const add = (scope: FastifyInstance, constraints: RouteOptions['constraints'], headers: Record<string, string>, answer: string): void => {
    scope.route({ method: 'GET', url: '/same', websocket: true, handler: () => { server.ran.push(JSON.stringify(headers)) }, ...constraints === undefined ? {} : { constraints } } as RouteOptions)
    server.expected.set({ path: '/same', headers, covered: answer }, answer)
  }
  await app.register(async (scope) => { add(scope, { host: 'earlier.example' }, { host: 'earlier.example' }, UNPROTECTED) })
  await app.register(async (scope) => {
    add(scope, { host: 'before.example' }, { host: 'before.example' }, UNPROTECTED)
    server.scope = scope
    await scope.register(fastifyWsAuth, { jwt: { secret: SECRET } })
    add(scope, { host: 'guarded.example' }, { host: 'guarded.example' }, GUARDED)
    add(scope, { version: '2.0.0' }, { host: 'localhost', 'accept-version': '2.0.0' }, GUARDED)
    add(scope, { host: 'both.example', version: '2.0.0' }, { host: 'both.example', 'accept-version': '2.0.0' }, GUARDED)
  })
  await app.register(async (scope) => { add(scope, { host: 'later.example' }, { host: 'later.example' }, UNPROTECTED) })
  add(app, { version: '1.0.0' }, { host: 'localhost', 'accept-version': '1.0.0' }, UNPROTECTED)
  add(app, undefined, { host: 'localhost' }, UNPROTECTED)
  const port = await listen(server)
  await Promise.all([...server.expected].map(async ([asked, answer]) => { t.equal(await ask(t, port, asked), answer, JSON.stringify(asked.headers)) }))
  t.same(server.ran, [])
  await until(() => statsOf(server.scope).pending === 0, 'nothing is pending')
})

t.test('an asynchronous constraint keeps routes with one path apart too', async (t) => {
  const tenant = {
    name: 'tenant',
    storage: () => {
      const handlers = new Map<unknown, unknown>()
      return { get: (key: unknown) => handlers.get(key) ?? null, set: (key: unknown, handler: unknown) => { handlers.set(key, handler) } }
    },
    deriveConstraint: (request: { headers: Record<string, unknown> }, _context: unknown, done: (error: null, value: unknown) => void) => {
      setImmediate(() => done(null, request.headers['x-tenant']))
    },
    validate: () => true,
    mustMatchWhenDerived: true
  }
  const server = create(t, { routerOptions: { constraints: { tenant } } } as unknown as FastifyServerOptions)
  const { app, ran } = server
  const slow = async (): Promise<void> => { await new Promise((resolve) => setImmediate(resolve)) }
  app.addHook('onRequest', slow)
  const add = (scope: FastifyInstance, url: string, wsAuth?: false): void => {
    const options = { websocket: true, constraints: { tenant: url }, ...wsAuth === undefined ? {} : { wsAuth } }
    scope.get(url, options as object, () => { ran.push(url) })
  }
  await app.register(async (scope) => { add(scope, '/earlier') })
  await app.register(async (scope) => {
    server.scope = scope
    await scope.register(fastifyWsAuth, { jwt: { secret: SECRET } })
    scope.addHook('onRequest', slow)
    add(scope, '/guarded')
    add(scope, '/public', false)
  })
  add(app, '/root')
  const port = await listen(server)
  const asked = (path: string, headers = {}): Promise<string> => ask(t, port, { path, headers: { 'x-tenant': path, ...headers } })
  t.equal(await asked('/earlier'), UNPROTECTED)
  t.equal(await asked('/root'), UNPROTECTED)
  t.equal(await asked('/guarded'), GUARDED)
  t.same(ran, [])
  t.equal(await asked('/public'), OPEN)
  t.equal(await asked('/guarded', ADMIN), OPEN, 'a good token opens it')
  t.same(ran, ['/public', '/guarded'])
  await until(() => statsOf(server.scope).pending === 0, 'nothing is pending')
})

t.test('a good token opens no route that the plugin does not cover', async (t) => {
  const server = create(t)
  await grow(server, 1, REGISTRATIONS['with await'] as (typeof REGISTRATIONS)[string])
  const port = await listen(server)
  const scopes = ['0-before', '0-earlier-child', '0-later-child', '0-later-grandchild', '0-last', '1-before', '1-earlier-child']
  const paths = scopes.flatMap((at) => ['default', 'roles', 'public', 'beside', 'wildcard/x'].map((name) => `/${at}/${name}`))
  const answers = await Promise.all(paths.map(async (path) => await ask(t, port, { path, headers: ADMIN })))
  for (const [i, path] of paths.entries()) t.equal(answers[i], UNPROTECTED, path)
  t.same(server.ran, [])
  t.equal(await ask(t, port, { path: '/1-after/roles', headers: ADMIN }), OPEN, 'and opens one that it covers')
})

t.test('a path that no route has is 404 wherever the plugin is registered', async (t) => {
  for (const depth of [0, 1, 2]) {
    for (const hasHandler of [false, true]) {
      const server = create(t)
      if (hasHandler) server.app.setNotFoundHandler(async (_request, reply) => await reply.code(404).send({}))
      await grow(server, depth, REGISTRATIONS['with await'] as (typeof REGISTRATIONS)[string])
      const port = await listen(server)
      t.equal(await ask(t, port, { path: '/nowhere' }), NO_ROUTE, `depth ${depth}`)
      t.equal(await ask(t, port, { path: '/nowhere', headers: ADMIN }), NO_ROUTE, `depth ${depth}, with a token`)
      await until(() => statsOf(server.scope).pending === 0, 'nothing is pending')
    }
  }
})

t.test('upgrades of a route in the parent of the plugin\'s scope hold no places', async (t) => {
  const server = create(t)
  const { app, ran } = server
  app.get('/parent', async () => { ran.push('http'); return 'http' })
  app.get('/socket', { websocket: true } as object, () => { ran.push('socket') })
  await app.register(async (scope) => {
    server.scope = scope
    await scope.register(fastifyWsAuth, { jwt: { secret: SECRET }, limits: { pending: 10 } })
    scope.get('/guarded', { websocket: true }, () => {})
  })
  const port = await listen(server)
  for (const path of ['/parent', '/socket']) {
    const answers = await Promise.all(Array.from({ length: 15 }, async () => await ask(t, port, { path })))
    t.strictSame(answers, new Array(15).fill(UNPROTECTED), path)
    await until(() => statsOf(server.scope).pending === 0, 'nothing is pending')
    t.equal(await ask(t, port, { path: '/guarded' }), GUARDED)
    t.equal(await ask(t, port, { path: '/guarded', headers: ADMIN }), OPEN, 'whoever has a token is not kept out')
  }
  t.same(ran, [])
  t.equal((await app.inject('/parent')).body, 'http', 'plain requests of the parent are as they were')
})

/** Packages that declare websocket routes on their own account. */
const PACKAGES: Record<string, (server: Server, path: string) => (scope: FastifyInstance) => Promise<void>> = {
  'a package without fastify-plugin': ({ ran }, path) => async (scope) => {
    await scope.register(async (inner) => { inner.get(path, { websocket: true } as object, () => { ran.push(path) }) })
  },
  'a package with fastify-plugin': ({ ran }, path) => fp(async (scope: FastifyInstance) => {
    scope.get(path, { websocket: true } as object, () => { ran.push(path) })
  }),
  'a package that declares its route in after()': ({ ran }, path) => async (scope) => {
    scope.after(() => { scope.get(path, { websocket: true } as object, () => { ran.push(path) }) })
  },
  'a package with a hook that answers for its handler': ({ ran }, path) => async (scope) => {
    scope.get(path, { websocket: true, preHandler: async () => { ran.push('hook') } } as object, () => { ran.push(path) })
  }
}

for (const [name, make] of Object.entries(PACKAGES)) {
  t.test(`the websocket of ${name} is guarded after the plugin and refused elsewhere`, async (t) => {
    const server = create(t)
    const { app } = server
    const expect = (path: string, answer: string): void => { server.expected.set({ path, covered: answer }, answer) }
    await app.register(make(server, '/earlier'))
    await app.register(async (scope) => {
      server.scope = scope
      await scope.register(make(server, '/before'))
      await scope.register(fastifyWsAuth, { jwt: { secret: SECRET } })
      await scope.register(make(server, '/after'))
    })
    await app.register(make(server, '/later'))
    for (const path of ['/earlier', '/before', '/later']) expect(path, UNPROTECTED)
    expect('/after', GUARDED)
    await askAll(t, server)
  })
}

t.test('a route that an onRoute hook declares as the alias of another is guarded', async (t) => {
  const server = create(t)
  const { app, ran } = server
  app.addHook('onRoute', function (this: FastifyInstance, route) {
    if (!route.url.startsWith('/v1') && route.method === 'GET') this.route({ ...route, url: `/v1${route.url}` })
  })
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET } })
  app.get('/chat', { websocket: true, wsAuth: { roles: ['admin'] } }, () => { ran.push('chat') })
  const port = await listen(server)
  for (const path of ['/chat', '/v1/chat']) {
    t.equal(await ask(t, port, { path }), GUARDED, path)
    t.equal(await ask(t, port, { path, headers: MEMBER }), FORBIDDEN, path)
  }
  t.same(ran, [])
})

t.test('a websocket of another @fastify/websocket in a sibling scope fails the start, or is refused', async (t) => {
  for (const order of ['before', 'after']) {
    for (const isListening of [false, true]) {
      const server = create(t)
      const { app, ran } = server
      const other = async (scope: FastifyInstance): Promise<void> => {
        await scope.register(fastifyWebsocket)
        scope.get('/other', { websocket: true } as object, () => { ran.push('other') })
      }
      const build = async (): Promise<void> => {
        if (order === 'before') await app.register(other)
        await app.register(async (scope) => {
          server.scope = scope
          await scope.register(fastifyWsAuth, { jwt: { secret: SECRET } })
          scope.get('/guarded', { websocket: true }, () => { ran.push('guarded') })
        })
        if (order === 'after') await app.register(other)
        await app.ready()
      }
      const error = await build().then(() => null, (error: unknown) => error as Error)
      if (error !== null) {
        t.match(error.message, '@fastify/websocket', 'the error names it')
        continue
      }
      if (!isListening) continue
      const port = await listen(server)
      t.match(await ask(t, port, { path: '/other' }), /^(500 WS_AUTH_ROUTE_UNPROTECTED|404 .*)$/, `registered ${order} the plugin`)
      t.equal(await ask(t, port, { path: '/guarded' }), GUARDED, `registered ${order} the plugin`)
      t.same(ran, [], 'no handler runs')
      await until(() => statsOf(server.scope).pending === 0, 'nothing is pending')
    }
  }
})

/** A scope: routes and scopes in their order, each with or without await. */
type Item = 'route' | 'public' | 'plugin' | Branch
interface Branch { items: Item[], isWaitedFor: boolean }

const { branch } = fc.letrec<{ branch: Branch, item: Item }>((tie) => ({
  item: fc.oneof({ maxDepth: 3, depthSize: 'small' }, { weight: 3, arbitrary: fc.constantFrom<Item>('route', 'public') }, { weight: 1, arbitrary: fc.constant<Item>('plugin') }, { weight: 2, arbitrary: tie('branch') }),
  branch: fc.record({ items: fc.array(tie('item'), { minLength: 1, maxLength: 5 }), isWaitedFor: fc.boolean() })
}))

t.test('an anonymous client reaches only the handlers of public routes, in any tree of scopes', { timeout: 590_000 }, async (t) => {
  let opened = 0
  await holdsAsync(fc.asyncProperty(branch, async (tree) => {
    const server = create(t)
    const paths: string[] = []
    let isRegistered = false
    const build = async (scope: FastifyInstance, { items, isWaitedFor }: Branch): Promise<void> => {
      for (const item of items) {
        if (item === 'plugin') {
          // Once for each app: a second one is an error, and of another test.
          if (isRegistered) continue
          isRegistered = true
          server.scope = scope
          const registered = scope.register(fastifyWsAuth, { jwt: { secret: SECRET } })
          if (isWaitedFor) await registered
        } else if (typeof item === 'string') {
          const path = `/${paths.length}-${item}`
          paths.push(path)
          scope.get(path, { websocket: true, ...item === 'public' ? { wsAuth: false } : {} } as object, () => { server.ran.push(path) })
        } else {
          const registered = scope.register(async (child) => await build(child, item))
          if (item.isWaitedFor) await registered
        }
      }
    }
    await build(server.app, { items: [...tree.items, 'plugin', 'route', 'public'], isWaitedFor: tree.isWaitedFor })
    const port = await listen(server)
    const answers = await Promise.all(paths.map(async (path) => await ask(t, port, { path })))
    for (const [i, path] of paths.entries()) {
      const allowed = path.endsWith('public') ? [OPEN, UNPROTECTED] : [GUARDED, UNPROTECTED]
      if (!allowed.includes(String(answers[i]))) throw new Error(`${path}: ${answers[i]}`)
    }
    const expected = paths.filter((_path, i) => answers[i] === OPEN)
    opened += expected.length
    if (server.ran.sort().join() !== expected.sort().join()) throw new Error(`ran: ${server.ran.join()}, and not: ${expected.join()}`)
    await until(() => statsOf(server.scope).pending === 0, 'nothing is pending')
    await server.app.close()
  }), 40)
  t.ok(opened > 0, `${opened} public sockets were opened`)
})
