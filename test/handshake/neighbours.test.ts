/*
 * Other libraries on the same server: upgrades that are theirs, routes that they declare, subprotocols that they choose.
 */
import { EventEmitter } from 'node:events'
import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import fastifyWebsocket from '@fastify/websocket'
import mercurius from 'mercurius'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { prepare, sign, start, until } from '../helpers/app'
import { statusOf } from '../helpers/sockets'
import { statsOf } from '../helpers/stats'

const TOKEN = sign({ sub: 'ann', roles: ['member'] })
const websocket = { websocket: true } as const

/** The first message of a socket, or why there is none. */
async function firstMessage (url: string, protocols?: string | string[]): Promise<string> {
  const socket = new WebSocket(url, protocols)
  try {
    return await new Promise((resolve) => {
      socket.on('message', (data) => resolve(String(data)))
      socket.on('error', (error) => resolve(error.message))
      socket.on('close', (code) => resolve(`closed ${code}`))
    })
  } finally {
    socket.terminate()
  }
}

t.test('the plugin leaves an upgrade that is not for the app untouched to another listener', async (t) => {
  const others = new WebSocketServer({ noServer: true })
  t.teardown(() => others.close())
  const { app, port, log } = await start(t, {
    plugin: { upgrades: ({ url = '' }) => !url.startsWith('/other') },
    routes: (app) => {
      app.get('/ws', websocket, (socket, request) => socket.send(`ours ${(request.user as { sub: string }).sub}`))
      app.server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
        if (request.url?.startsWith('/other') !== true) return
        others.handleUpgrade(request, socket, head, (theirs) => theirs.send(`theirs ${request.url} ${request.headers['sec-websocket-protocol']}`))
      })
    }
  })
  t.equal(await firstMessage(`ws://127.0.0.1:${port}/ws?token=${TOKEN}`), 'ours ann')
  t.equal(await firstMessage(`ws://127.0.0.1:${port}/other?token=${TOKEN}`, ['bearer', 'x']), `theirs /other?token=${TOKEN} bearer,x`)
  t.equal(statsOf(app).accepted, 1)
  t.equal(statsOf(app).pending, 0)
  t.notOk(log.some((line) => line.includes('another library listens')), 'the option answers the question')
})

t.test('the server closes an upgrade that no listener takes, and one for which the upgrades option throws', async (t) => {
  const { port, log } = await start(t, {
    plugin: { upgrades: ({ url }) => { if (url === '/throw') throw new Error('secret'); return url === '/ws' ? true : 'yes' as never } },
    routes: (app) => app.get('/*', { ...websocket, wsAuth: false }, (socket) => socket.send('ours'))
  })
  t.equal(await firstMessage(`ws://127.0.0.1:${port}/ws`), 'ours')
  t.equal(await firstMessage(`ws://127.0.0.1:${port}/other`), 'socket hang up', 'only true takes an upgrade')
  t.equal(await firstMessage(`ws://127.0.0.1:${port}/throw`), 'socket hang up')
  t.ok(log.some((line) => line.includes('the \\"upgrades\\" option threw Error')))
  t.notOk(log.some((line) => line.includes('secret')), 'the log has nothing of the error: it may quote the URL')
})

t.test('the log warns at the start of another upgrade listener if the upgrades option is not set', async (t) => {
  const { log } = await start(t, { routes: (app) => { app.server.on('upgrade', () => {}) } })
  t.equal(log.filter((line) => line.includes('another library listens to the upgrades of this server')).length, 1)
  const alone = await start(t)
  t.notOk(alone.log.some((line) => line.includes('another library')))
})

t.test('the routes option gives a policy to a route of another package, and the policy of the route itself comes first', async (t) => {
  const { app } = await prepare(t, {
    plugin: { routes: { '/api/graphql': { roles: ['admin'] }, '/api/own': { roles: ['admin'] }, '/api/public': false, '/api/both': 'optional' } },
    routes: async (app) => {
      await app.register(async (scope) => {
        scope.get('/graphql', websocket, () => {})
        scope.get('/own', { ...websocket, wsAuth: { roles: ['member'] } }, () => {})
        scope.get('/public', websocket, () => {})
        scope.route({ method: 'GET', url: '/both', handler: async () => 'page', wsHandler: () => {} })
        scope.post('/graphql', async () => 'posted')
      }, { prefix: '/api' })
    }
  })
  t.equal(await statusOf(app, '/api/graphql', TOKEN), 403)
  t.equal(await statusOf(app, '/api/graphql', sign({ sub: 'root', roles: ['admin'] })), 426)
  t.equal(await statusOf(app, '/api/own', TOKEN), 426)
  t.equal(await statusOf(app, '/api/public', null), 426)
  t.equal((await app.inject({ method: 'POST', url: '/api/graphql' })).body, 'posted')
  await app.injectWS('/api/both').then((socket) => socket.terminate())
})

t.test('a path in the routes option without a websocket route fails the start, and a wrong policy fails the declaration of its route', async (t) => {
  await t.rejects(prepare(t, { plugin: { routes: { '/graphql': true } }, routes: (app) => app.get('/graphql', async () => 'page') }),
    { name: 'TypeError', message: /"routes\.\/graphql" option must be the path of a websocket route/ })
  await t.rejects(prepare(t, { plugin: { routes: { graphql: true } } }), { message: '"routes.graphql" option must be a path that begins with a slash' })
  await prepare(t, {
    plugin: { routes: { '/ws': { role: 'admin' } as never } },
    routes: (app) => {
      t.throws(() => app.get('/ws', websocket, () => {}), { message: '"wsAuth.role" option must be left out: there is no such option; did you mean "roles"?' })
      app.get('/ws', { ...websocket, wsAuth: true }, () => {})
    }
  })
})

t.test('a library that sets handleProtocols for all routes gets the protocols without the token, and each route keeps its answer', async (t) => {
  const asked: string[][] = []
  const { app, port } = await start(t, { routes: (app) => app.get('/ws', websocket, (socket) => socket.send(`chosen ${socket.protocol}`)) })
  const ask = async (...protocols: string[]): Promise<string> => await firstMessage(`ws://127.0.0.1:${port}/ws`, [...protocols, 'bearer', TOKEN])
  t.equal(await ask(), 'chosen bearer')
  app.websocketServer.options.handleProtocols = (offered) => { asked.push([...offered]); return offered.has('graphql-transport-ws') ? 'graphql-transport-ws' : false }
  t.equal(await ask('graphql-transport-ws'), 'chosen graphql-transport-ws')
  t.equal(await ask('chat'), 'chosen chat')
  t.equal(await ask(), 'chosen bearer')
  t.strictSame(asked, [['graphql-transport-ws', 'bearer'], ['chat', 'bearer'], ['bearer']])
  const { handleProtocols: before } = app.websocketServer.options
  app.websocketServer.options.handleProtocols = (offered, request) => offered.has('own') ? 'own' : before?.(offered, request) ?? false
  t.equal(await ask('own'), 'chosen own')
  t.equal(await ask('graphql-transport-ws'), 'chosen graphql-transport-ws', 'a function that wraps the one before')
  app.websocketServer.options.handleProtocols = undefined as never
  t.equal(await ask('chat'), 'chosen chat')
  await until(() => app.wsAuth.connections.size === 0, 'the end of all')
})

t.test('an upgrade that is not for the app outlives handshakeTimeout, and ends with the app', async (t) => {
  const others = new WebSocketServer({ noServer: true })
  t.teardown(() => others.close())
  const left: Duplex[] = []
  const { app, port } = await start(t, {
    plugin: { handshakeTimeout: 50, upgrades: () => false },
    routes: (app) => {
      app.server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
        left.push(socket)
        if (request.url === '/late') setTimeout(() => others.handleUpgrade(request, socket, head, (theirs) => theirs.send('late')), 200)
      })
    }
  })
  t.equal(await firstMessage(`ws://127.0.0.1:${port}/late`), 'late')
  const never = firstMessage(`ws://127.0.0.1:${port}/never`)
  await until(() => left.length === 2, 'the upgrade')
  await app.close()
  t.equal(await never, 'socket hang up')
})

t.test('a second @fastify/websocket fails the start with an error that names its scope, and mercurius after the plugin uses the one of the plugin', async (t) => {
  const register = async (app: FastifyInstance): Promise<void> => {
    await app.register(mercurius, { schema: 'type Query { me: String } type Subscription { ticks: String }', subscription: true })
  }
  const second = /^@fastify\/websocket is registered a second time, in the scope of ".*mercurius.*", and both would answer each upgrade: register fastify-ws-auth at the root and before that scope/
  await t.rejects(prepare(t, { before: register }), { message: second })
  const beside = async (scope: FastifyInstance): Promise<void> => { await scope.register(fastifyWebsocket, { options: { server: new EventEmitter() as Server } }) }
  await prepare(t, { before: (app) => app.register(beside) })
  const { app } = await prepare(t, { plugin: { routes: { '/graphql': { roles: ['admin'] } } }, routes: register })
  await t.rejects(app.injectWS('/graphql', { headers: { authorization: `Bearer ${TOKEN}`, 'sec-websocket-protocol': 'graphql-transport-ws' } }), /403/)
})
