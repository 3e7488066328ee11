/*
 * What is made of a route when it is declared: what is known of it later, what is an error, and what stands in the handler's place.
 */
import t from 'tap'
import type { Test } from 'tap'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { KnownNames } from '../../lib/credentials/known-names'
import { readPluginOptions } from '../../lib/options/read-plugin-options'
import { addDryRun, declareTicketRoute, kRoute, logDropped, readRoute, refuseUncovered, knownRouteOf, wrapWebsocketHandler } from '../../lib/handshake/routes'
import type { DeclaredRoute } from '../../lib/handshake/routes'
import { candidateOf } from '../../lib/handshake/candidate'
import { PlainRequest } from '../../lib/handshake/dry-run'

const PLUGIN = readPluginOptions({ jwt: { secret: 'thirty-two bytes of test secret!' } })
const handler = (): string => 'what the handler returns'

/** A route as an `onRoute` hook gets it. */
function route (more: object): DeclaredRoute {
  return { method: 'GET', url: '/chat', handler, ...more } as unknown as DeclaredRoute
}

/** What is remembered of a route, in short. */
function seen (t: Test, more: object): unknown {
  const declared = route(more)
  const kept = readRoute(declared, PLUGIN)
  t.equal(declared.config?.[kRoute], kept)
  t.equal(knownRouteOf(declared as never), kept)
  return kept.kind === 'websocket' ? [kept.kind, kept.options.access, kept.hasDryRun] : [kept.kind]
}

t.test('a websocket route is guarded unless its policy says otherwise, and a plain request of it is a dry run or goes to its HTTP handler', async (t) => {
  t.strictSame(seen(t, {}), ['http'])
  t.strictSame(seen(t, { websocket: false }), ['http'])
  t.strictSame(seen(t, { websocket: true }), ['websocket', 'required', true])
  t.strictSame(seen(t, { websocket: true, wsAuth: true }), ['websocket', 'required', true])
  t.strictSame(seen(t, { websocket: true, wsAuth: false }), ['websocket', 'public', true])
  t.strictSame(seen(t, { websocket: true, wsAuth: 'optional' }), ['websocket', 'optional', true])
  t.strictSame(seen(t, { wsHandler: handler }), ['websocket', 'required', false])
  t.strictSame(seen(t, { wsHandler: handler, wsAuth: { roles: ['a'] } }), ['websocket', 'required', false])
  t.strictSame(seen(t, { wsHandler: handler, websocket: true }), ['websocket', 'required', true])
  for (const method of ['HEAD', ['HEAD']]) {
    t.strictSame(seen(t, { method, websocket: true, wsAuth: true }), ['websocket', 'required', true], 'HEAD is a dry run as GET is')
    t.strictSame(seen(t, { method, wsHandler: handler, wsAuth: true }), ['http'], 'HEAD is the handler\'s as GET is')
  }
  t.strictSame(seen(t, { method: ['GET', 'HEAD'], websocket: true }), ['websocket', 'required', true])
  t.equal(knownRouteOf({}), undefined)
  t.equal(knownRouteOf({ config: {} } as never), undefined)
})

t.test('a route keeps its config, and its wsAuth cannot be changed after the declaration', async (t) => {
  const config = { mine: 1 }
  const declared = route({ websocket: true, wsAuth: 'optional', config })
  readRoute(declared, PLUGIN)
  t.equal((declared.config as unknown as typeof config).mine, 1)
  t.strictSame(Reflect.ownKeys(config), ['mine'], 'the object is the app\'s')
  t.equal(declared.wsAuth, 'optional')
  t.ok(Object.keys(declared).includes('wsAuth'), 'Fastify copies what is enumerable')
  t.throws(() => { declared.wsAuth = false }, { name: 'TypeError', message: '"wsAuth" option must be given where /chat is declared: an onRoute hook of a scope comes too late' })
  t.equal(declared.wsAuth, 'optional')
})

t.test('wsAuth on a route without a websocket throws a TypeError, whatever its value is', async (t) => {
  for (const wsAuth of [true, false, 'optional', null, {}]) {
    t.throws(() => readRoute(route({ wsAuth }), PLUGIN), { name: 'TypeError', message: '"wsAuth" option must be left out of GET /chat: it guards websockets, and this route has none (add websocket: true if it should have one)' })
  }
  t.doesNotThrow(() => readRoute(route({ wsAuth: undefined }), PLUGIN))
  t.throws(() => readRoute(route({ websocket: true, wsAuth: 'yes' }), PLUGIN), { name: 'TypeError', message: /^"wsAuth" option must be/ })
})

t.test('a misspelt or misplaced policy throws a TypeError that names the right place', async (t) => {
  const spelt = (key: string, right: string): { name: string, message: string } => ({ name: 'TypeError', message: `"${key}" option must be spelt "${right}" in GET /chat` })
  for (const key of ['wsauth', 'WsAuth', 'ws_auth', 'ws-auth', 'WSAUTH', 'w_s-auth']) {
    t.throws(() => readRoute(route({ [key]: true }), PLUGIN), spelt(key, 'wsAuth'))
    t.throws(() => readRoute(route({ websocket: true, [key]: true }), PLUGIN), spelt(key, 'wsAuth'))
  }
  for (const key of ['webSocket', 'web_socket', 'web-socket', 'WEBSOCKET', 'websockets', 'webSockets']) t.throws(() => readRoute(route({ [key]: true }), PLUGIN), spelt(key, 'websocket'))
  for (const key of ['wshandler', 'ws_handler', 'WSHandler']) t.throws(() => readRoute(route({ [key]: handler }), PLUGIN), spelt(key, 'wsHandler'))
  const policies: Array<[key: string, policy: string]> = [
    ['roles', 'roles'], ['role', 'roles'], ['Roles', 'roles'], ['scopes', 'scopes'], ['scope', 'scopes'], ['SCOPE', 'scopes'], ['authorize', 'authorize'], ['authorise', 'authorize'], ['Authorize', 'authorize']
  ]
  for (const [key, policy] of policies) {
    const message = `"${key}" option must stand in "wsAuth", as wsAuth: { ${policy} }, in GET /chat`
    t.throws(() => readRoute(route({ websocket: true, [key]: 'x' }), PLUGIN), { name: 'TypeError', message })
    t.throws(() => readRoute(route({ wsHandler: handler, [key]: 'x' }), PLUGIN), { name: 'TypeError', message })
    t.doesNotThrow(() => readRoute(route({ [key]: 'x' }), PLUGIN), `${key} of a plain route is another plugin's`)
  }
  for (const key of ['wsAuth', 'wsauth', 'ws_auth', 'WS-AUTH']) {
    for (const more of [{}, { websocket: true }]) t.throws(() => readRoute(route({ ...more, config: { [key]: true } }), PLUGIN), { name: 'TypeError', message: `"config.${key}" option must stand beside "config", as "wsAuth", in GET /chat` })
  }
  t.throws(() => readRoute(route({ method: ['GET', 'POST'], websockets: true }), PLUGIN), { message: '"websockets" option must be spelt "websocket" in GET, POST /chat' })
  for (const more of [{ config: { roles: ['a'], ws: 1 } }, { wsAuths: 1 }, { authorization: 1 }, { socket: true }, { constructor: 1 }]) t.doesNotThrow(() => readRoute(route({ websocket: true, ...more }), PLUGIN), JSON.stringify(more))
})

t.test('the param of a route\'s own token must be a whole segment of its path', async (t) => {
  t.doesNotThrow(() => readRoute(route({ url: '/rooms/:secret', websocket: true, wsAuth: { token: { param: 'secret' } } }), PLUGIN))
  for (const url of ['/chat', '/rooms/:secrets', '/rooms/:secret.json']) {
    t.throws(() => readRoute(route({ url, websocket: true, wsAuth: { token: { param: 'secret' } } }), PLUGIN), { name: 'TypeError', message: `"wsAuth.token.param" option must be a whole segment of the path, "/:secret", in ${url}` })
  }
  const withParam = readPluginOptions({ jwt: { secret: 'thirty-two bytes of test secret!' }, token: { param: 'secret' } })
  t.doesNotThrow(() => readRoute(route({ websocket: true }), withParam), 'that of the plugin is not asked of each route')
  t.doesNotThrow(() => readRoute(route({ websocket: true, wsAuth: { token: { param: 'secret' } } }), withParam))
})

t.test('the ticket route is recognized, its requests are checked as handshakes are, and it takes no token from a path or a message', async (t) => {
  const { token } = readPluginOptions({ jwt: { secret: 'thirty-two bytes of test secret!' }, token: { param: 'secret', message: true } })
  const { config, onRequest } = declareTicketRoute({ ...PLUGIN, token, tickets: { query: 'ticket', require: true } } as never, new KnownNames())
  const kept = knownRouteOf({ config })
  t.match(kept, { kind: 'ticket', options: { access: 'required', token: { param: null, message: null, query: 'token' }, tickets: { query: null, require: false } } })
  const declared = route({ method: 'POST', url: '/ws-ticket', config })
  t.strictSame(readRoute(declared, PLUGIN), { kind: 'http' })
  t.equal(knownRouteOf(declared as never), kept, 'it is not taken for a plain route')
  const raw = { url: '/ws-ticket', headers: {} }
  let isDone = false
  onRequest.call({} as never, { raw } as never, {} as never, () => { isDone = true })
  t.ok(isDone)
  t.ok(candidateOf(raw as never) instanceof PlainRequest)
})

t.test('the wrapped websocket handler calls the original handler with the same arguments', async (t) => {
  const opened: unknown[][] = []
  const open = (...args: unknown[]): unknown => { opened.push(args); return (args[2] as () => unknown)() }
  const called: unknown[][] = []
  function own (this: unknown, ...args: unknown[]): string {
    called.push([this, ...args])
    return 'returned'
  }
  for (const key of ['handler', 'wsHandler'] as const) {
    const declared = route(key === 'handler' ? { websocket: true, handler: own } : { wsHandler: own })
    const { handler: before } = declared
    wrapWebsocketHandler(declared, open as never)
    t.equal(declared.handler === before, key === 'wsHandler', 'the HTTP handler beside a wsHandler is left')
    t.equal((declared[key] as unknown as typeof own).call('this', 'socket', 'request'), 'returned')
    t.strictSame(opened.pop()?.slice(0, 2), ['socket', 'request'])
    t.strictSame(called.pop(), ['this', 'socket', 'request'])
  }
  const both = route({ websocket: true, handler: own, wsHandler: handler })
  wrapWebsocketHandler(both, open as never)
  t.equal(both.wsHandler, handler)
  t.not(both.handler, own)
  for (const wrong of [{ wsHandler: 'no' }, { websocket: true, handler: 'no' }, {}]) {
    const declared = route(wrong)
    const before = { ...declared }
    wrapWebsocketHandler(declared, open as never)
    t.strictSame({ ...declared }, before, 'what is no handler is @fastify/websocket\'s to refuse')
  }
})

interface Sent { status?: number, body?: { statusCode: number, error: string, message: string }, headers: Record<string, string> }

/** What the handler of a dry run answers to such a request. */
function answerOf (t: Test, raw: object, more: object = {}): Sent {
  const declared = route({ websocket: true })
  addDryRun(declared, new KnownNames())
  const request = { raw: { url: '/chat', ...raw }, ws: false, ...more } as unknown as FastifyRequest
  const hooks = declared.onRequest as unknown as Array<(...args: unknown[]) => void>
  hooks.at(-1)?.(request, {}, () => {})
  const sent: Sent = { headers: {} }
  const reply = {
    code: (status: number) => { sent.status = status; return reply },
    header: (name: string, value: string) => { sent.headers[name] = value; return reply },
    headers: (values: object) => { Object.assign(sent.headers, values); return reply },
    send: (body: Sent['body']) => { sent.body = body; return reply }
  }
  const returned: unknown = (declared.handler as (...args: unknown[]) => unknown)(request, reply as unknown as FastifyReply)
  t.ok(returned === reply || request.ws)
  return request.ws ? { headers: {}, body: returned as never } : sent
}

t.test('a plain request of a websocket route is answered with 426 that no cache keeps, over HTTP/2 without its headers', async (t) => {
  const body = { statusCode: 426, error: 'Upgrade Required', message: 'This route speaks WebSocket: the handshake would be accepted' }
  t.strictSame(answerOf(t, { headers: {}, httpVersionMajor: 1 }), { status: 426, body, headers: { 'cache-control': 'no-store', upgrade: 'websocket', connection: 'upgrade' } })
  t.strictSame(answerOf(t, { headers: {}, httpVersionMajor: 2 }), { status: 426, body, headers: { 'cache-control': 'no-store' } })
  t.strictSame(answerOf(t, { headers: { 'sec-websocket-key': 'x', upgrade: 'h2c' }, httpVersionMajor: 1 }).body, body)
  t.match(answerOf(t, { headers: { 'sec-websocket-key': 'x' }, httpVersionMajor: 1 }).body?.message, /^This route speaks WebSocket: Sec-WebSocket-Key came without Upgrade: a proxy drops it/)
  t.equal(answerOf(t, { headers: {} }, { ws: true }).body, 'what the handler returns')
})

t.test('the hooks of the route run before the hook that makes a request a dry run', async (t) => {
  const mine = (): void => {}
  for (const [given, expected] of [[undefined, []], [mine, [mine]], [[mine, mine], [mine, mine]]] as const) {
    const declared = route({ websocket: true, onRequest: given })
    addDryRun(declared, new KnownNames())
    const hooks = declared.onRequest as unknown[]
    t.strictSame(hooks.slice(0, -1), expected)
    const raw = { url: '/chat', headers: {} }
    let isDone = false;
    (hooks.at(-1) as (...args: unknown[]) => void)({ raw }, {}, () => { isDone = true })
    t.ok(isDone && candidateOf(raw as never) instanceof PlainRequest)
  }
})

t.test('the log names the remedy if a proxy drops the Upgrade', async (t) => {
  const lines: string[] = []
  logDropped({ warn: (_more: object, line: string) => { lines.push(line) } } as never, {})
  t.match(lines, [/^Sec-WebSocket-Key came without Upgrade: .*pass on Upgrade and Connection$/])
})

t.test('a websocket route that the plugin does not cover does not run its handler', async (t) => {
  const covered = route({ websocket: true })
  readRoute(covered, PLUGIN)
  for (const declared of [route({}), route({ websocket: false }), route({ wsHandler: handler })]) {
    refuseUncovered(declared)
    t.equal(declared.handler, handler)
  }
  // The mark of a covered route is no cover for another one that was given a copy of its config.
  for (const config of [undefined, {}, covered.config]) {
    const declared = route({ websocket: true, config })
    refuseUncovered(declared)
    t.throws(() => (declared.handler as () => void)(), { code: 'WS_AUTH_ROUTE_UNPROTECTED' })
  }
})
