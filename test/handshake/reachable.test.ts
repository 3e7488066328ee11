/*
 * What an app can reach of the request of an open connection: all that it could reach in the handler, for as long as it keeps the
 * request, the reply or the raw response. What nothing keeps is let go, and logs, events and renewals go on without it.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { WebSocket } from 'ws'
import { sign, start, until } from '../helpers/app'
import type { AppSettings } from '../helpers/app'
import { onDecision } from '../helpers/decisions'
import { clientFrame, upgrade } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const path = '/rooms/7?colour=blue'
const headers = { authorization: `Bearer ${sign({ sub: 'ann', n: 1 })}`, cookie: 'theme=dark', 'x-forwarded-for': '203.0.113.7' }
const websocket = { websocket: true } as const

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Lets all that is due happen, and what nothing holds be collected. */
async function later (): Promise<void> {
  for (let i = 0; i < 3; i++) {
    await new Promise<void>((resolve) => setImmediate(resolve))
    collect()
  }
}

/** All that Fastify documents of a request, and what hooks and libraries read of the raw one. */
function look (request: FastifyRequest): Record<string, unknown> {
  const { raw } = request
  return {
    id: request.id,
    params: request.params,
    query: request.query,
    body: request.body,
    ws: request.ws,
    is404: request.is404,
    url: request.url,
    originalUrl: request.originalUrl,
    method: request.method,
    headers: { ...request.headers },
    cookies: request.cookies,
    ip: request.ip,
    ips: request.ips,
    host: request.host,
    hostname: request.hostname,
    port: request.port,
    protocol: request.protocol,
    route: request.routeOptions.url,
    config: request.routeOptions.config.url,
    server: request.server.prefix,
    user: request.user,
    decorated: request.getDecorator('user'),
    connection: request.wsAuth?.id,
    log: request.log,
    socket: request.socket,
    address: request.socket.remoteAddress,
    isOpen: !request.socket.destroyed,
    raw: [raw.url, raw.method, raw.httpVersion, { ...raw.headers }, [...raw.rawHeaders], raw.complete, raw.aborted, raw.socket === request.socket]
  }
}

interface Held {
  socket: WebSocket
  request: FastifyRequest
  reply: FastifyReply
}

/** An app whose handler keeps what `keep` takes, and whose hook keeps the reply. */
async function startHolding (t: Test, settings: AppSettings = {}, onOpen: (held: Held) => void = () => {}): Promise<{ app: FastifyInstance, port: number, log: string[], held: Held[] }> {
  const held: Held[] = []
  const started = await start(t, {
    ...settings,
    routes: async (app) => {
      await settings.routes?.(app)
      app.decorateRequest('replied', null)
      app.addHook('preHandler', async (request, reply) => {
        reply.header('x-hook', 'ran');
        (request as unknown as { replied: FastifyReply }).replied = reply
      })
      app.get('/rooms/:room', websocket, (socket, request) => {
        const one = { socket, request, reply: (request as unknown as { replied: FastifyReply }).replied }
        held.push(one)
        socket.on('message', (data) => socket.send(data))
        onOpen(one)
      })
    }
  })
  return { ...started, held }
}

for (const trustProxy of [false, true]) {
  t.test(`a request that its handler keeps says the same as long as the connection is open, with trustProxy ${trustProxy}`, async (t) => {
    const seen: Array<Record<string, unknown>> = []
    const { port, held } = await startHolding(t, { server: { trustProxy } }, ({ request }) => { seen.push(look(request)) })
    const client = await upgrade(t, port, { path, headers })
    await client.send(clientFrame(1, 'one')).frame()
    await later()
    await client.send(clientFrame(1, 'two')).frame()
    const [{ request }] = held as [Held]
    const now = look(request)
    t.match(now, { id: 'req-1', params: { room: '7' }, query: { colour: 'blue' }, ws: true, hostname: 'localhost', protocol: 'http', route: '/rooms/:room', cookies: { theme: 'dark' }, user: { sub: 'ann' }, isOpen: true })
    t.equal(now.ip, trustProxy ? '203.0.113.7' : '127.0.0.1')
    for (const [key, value] of Object.entries(seen[0] ?? {})) {
      if (typeof value === 'object' && !Array.isArray(value) && !['headers', 'params', 'query', 'cookies', 'user', 'decorated'].includes(key)) t.equal(now[key], value, key)
      else t.strictSame(now[key], value, key)
    }
    t.ok(request.socket.bytesRead > 0)
    request.log.info('a line of the app')
  })
}

t.test('a request that its handler keeps can be read after the connection has ended', async (t) => {
  const { app, port, held } = await startHolding(t, {}, ({ request }) => request.ip)
  const client = await upgrade(t, port, { path, headers })
  await until(() => held.length > 0, 'it is open')
  const [{ request }] = held as [Held]
  const before = look(request)
  client.socket.destroy()
  await until(() => app.wsAuth.connections.size === 0, 'it is gone')
  await later()
  t.strictSame({ ...look(request), socket: 0, log: 0, isOpen: 0, raw: 0 }, { ...before, socket: 0, log: 0, isOpen: 0, raw: 0 })
  t.ok(request.socket.destroyed)
})

t.test('a reply that a hook keeps says the same as long as the connection is open', async (t) => {
  const { port, held } = await startHolding(t)
  const client = await upgrade(t, port, { path, headers })
  await client.send(clientFrame(1, 'one')).frame()
  await later()
  const [{ request, reply }] = held as [Held]
  t.equal(reply.request, request)
  t.equal(reply.raw.req, request.raw)
  t.equal(reply.raw.socket, request.raw.socket)
  t.equal(reply.getHeader('x-hook'), 'ran')
  t.strictSame([reply.sent, reply.statusCode, reply.raw.headersSent, reply.raw.writableEnded, reply.raw.destroyed], [true, 200, false, false, false])
  t.ok(reply.elapsedTime > 0)
  reply.send('late')
  await client.send(clientFrame(1, 'two')).frame()
})

t.test('a listener for the close of the raw response is called once, at the end of the connection', async (t) => {
  const closed: string[] = []
  const listen = (by: string) => ({ raw }: FastifyReply): void => { raw.once('close', () => closed.push(`${by}, ${raw.destroyed}`)) }
  const { app, port } = await startHolding(t, {
    routes: (app) => { app.addHook('preValidation', async (_request, reply) => { listen('hook')(reply) }) }
  }, ({ reply }) => listen('handler')(reply))
  const client = await upgrade(t, port, { path, headers })
  await client.send(clientFrame(1, 'one')).frame()
  await later()
  t.strictSame(closed, [])
  client.socket.destroy()
  await until(() => app.wsAuth.connections.size === 0, 'it is gone')
  await later()
  t.strictSame(closed, ['hook, true', 'handler, true'])
})

t.test('no hook of a response runs for a connection, neither while it is open nor at its end', async (t) => {
  const ran: string[] = []
  const { app, port } = await startHolding(t, {
    routes: (app) => {
      app.addHook('onResponse', async () => { ran.push('onResponse') })
      app.addHook('onSend', async () => { ran.push('onSend') })
      app.addHook('onRequestAbort', async (_request) => { ran.push('onRequestAbort') })
      app.addHook('onTimeout', async () => { ran.push('onTimeout') })
      app.addHook('onError', async () => { ran.push('onError') })
    }
  })
  const client = await upgrade(t, port, { path, headers })
  await client.send(clientFrame(1, 'one')).frame()
  await later()
  client.send(clientFrame(8, ''))
  await until(() => app.wsAuth.connections.size === 0, 'it is gone')
  await client.ended
  await later()
  t.strictSame(ran, [])
  t.strictSame([(await upgrade(t, port, { path })).answer.status, (await upgrade(t, port, { path: '/none' })).answer.status], [401, 404])
  await until(() => ran.length === 5, 'the hooks of refusals have run')
  t.strictSame(ran, ['onError', 'onSend', 'onResponse', 'onSend', 'onResponse'])
})

t.test('the error handler of the app gets the socket, the request and the reply of a late error', async (t) => {
  const got: unknown[][] = []
  const { app, port, held } = await startHolding(t, {
    plugin: { websocket: { errorHandler (error, socket, request, reply) { got.push([this.prefix, error.message, socket, request, reply]); socket.terminate() } } }
  })
  const client = await upgrade(t, port, { path, headers })
  await client.send(clientFrame(1, 'one')).frame()
  await later()
  client.send(Buffer.from([0x83, 0x80, 0, 0, 0, 0]))
  await until(() => app.wsAuth.connections.size === 0, 'it is gone')
  const [{ socket, request, reply }] = held as [Held]
  t.strictSame(got.map(([prefix, message]) => [prefix, message]), [['', 'Invalid WebSocket frame: invalid opcode 3']])
  t.ok(got[0]?.[2] === socket && got[0]?.[3] === request && got[0]?.[4] === reply)
})

/** The lines of the log that are about a request. */
function linesOf (log: string[], id: string): Array<Record<string, unknown>> {
  return log.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ reqId }) => reqId === id)
}

for (const [title, trustProxy, address] of [['', false, '127.0.0.1'], [' behind a proxy', true, '203.0.113.7']] as const) {
  t.test(`events and lines of a connection whose request nothing keeps are complete${title}`, async (t) => {
    const events: unknown[][] = []
    onDecision(t, ({ event, route, address, connectionId, sub, reason }) => { events.push([event, route, address, typeof connectionId, sub, reason]) })
    const { app, port, log } = await start(t, {
      server: { trustProxy },
      routes: (app) => app.get('/rooms/:room', websocket, (socket, request) => {
        request.log = request.log.child({ room: 7 })
        socket.send('open')
      })
    })
    const client = await upgrade(t, port, { path, headers })
    await client.frame()
    await later()
    const [connection] = app.wsAuth.connections
    await connection?.renew(sign({ sub: 'ann', n: 2 }))
    await t.rejects(connection?.renew('wrong') as Promise<unknown>, { code: 'WS_AUTH_TOKEN_INVALID' })
    t.match(connection?.user, { n: 2 })
    await later()
    client.send(Buffer.from([0x83, 0x80, 0, 0, 0, 0]))
    await client.ended
    await until(() => statsOf(app).closed.error === 1, 'it is gone')
    t.strictSame(events, [
      ['accepted', '/rooms/:room', address, 'string', 'ann', null], ['renewed', '/rooms/:room', address, 'string', 'ann', null],
      ['renewal_refused', '/rooms/:room', address, 'string', 'ann', null], ['closed', '/rooms/:room', address, 'string', 'ann', 'error']
    ])
    t.strictSame(linesOf(log, 'req-1').map(({ msg, room }) => [msg, room]), [
      ['incoming request', undefined], ['websocket handshake accepted', undefined], ['websocket connection renewed', 7],
      ['websocket renewal refused', 7], ['websocket connection closed', 7], ['Invalid WebSocket frame: invalid opcode 3', 7]
    ])
  })
}

t.test('a renewal that the app asks for elsewhere reaches a request that only the handler keeps', async (t) => {
  const { app, port, held } = await startHolding(t)
  const client = await upgrade(t, port, { path, headers })
  await client.send(clientFrame(1, 'one')).frame()
  await later()
  const [connection] = app.wsAuth.connections
  await connection?.renew(sign({ sub: 'ann', n: 2 }))
  const [{ request }] = held as [Held]
  t.match(request.user, { n: 2 })
  t.equal(request.user, request.wsAuth?.user)
})

t.test('a recheck keeps no request that nothing else keeps, and takes over claims without it', async (t) => {
  const requests: Array<WeakRef<FastifyRequest>> = []
  let n = 1
  const { app, port } = await start(t, {
    plugin: { recheck: { every: 50, check: ({ claims }) => ({ ...claims, n }) } },
    routes: (app) => app.get('/rooms/:room', websocket, (socket, request) => {
      requests.push(new WeakRef(request))
      socket.send('open')
    })
  })
  const client = await upgrade(t, port, { path, headers })
  await client.frame()
  const [connection] = app.wsAuth.connections
  for (let i = 0; i < 20 && requests[0]?.deref() !== undefined; i++) await later()
  t.equal(requests[0]?.deref(), undefined, 'the request is let go')
  n = 2
  await until(() => (connection?.user as { n?: number } | null)?.n === 2, 'the new claims')
})

t.test('functions of the app get the request of the handshake in a renewal, though the handler does not keep it', async (t) => {
  const got: string[] = []
  const note = (by: string, request: FastifyRequest): true => { got.push(`${by} ${request.ip} ${request.headers.cookie} ${(request.query as { colour: string }).colour}`); return true }
  const cases: Record<string, AppSettings['plugin']> = {
    verify: { verify: (token, request) => { note('verify', request); return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as object } },
    user: { user: (claims, request) => { note('user', request); return claims as never } },
    confirm: { confirm: (_claims, request) => note('confirm', request) },
    trusted: { jwt: { secret: 'thirty-two bytes of test secret!', trusted: (request) => note('trusted', request as FastifyRequest) } },
    secret: { jwt: { secret: (request: FastifyRequest, _token: unknown, callback: (error: Error | null, secret: string) => void) => { note('secret', request); callback(null, 'thirty-two bytes of test secret!') } } }
  }
  for (const [name, plugin = {}] of [...Object.entries(cases), ['authorize', {}] as const]) {
    const wsAuth = name === 'authorize' ? { authorize: (_user: unknown, request: FastifyRequest) => note('authorize', request) } : true
    const { app, port } = await start(t, { plugin, routes: (app) => app.get('/rooms/:room', { ...websocket, wsAuth }, (socket) => { socket.send('open') }) })
    const client = await upgrade(t, port, { path, headers: { ...headers, authorization: `Bearer ${sign({ sub: 'ann', cnf: name === 'confirm' ? {} : undefined })}` } })
    await client.frame()
    await later()
    got.length = 0
    await [...app.wsAuth.connections][0]?.renew(sign({ sub: 'ann', cnf: name === 'confirm' ? {} : undefined }))
    t.strictSame(got, [`${name} 127.0.0.1 theme=dark blue`])
  }
})
