/*
 * A forged token is accepted nowhere: not where @fastify/jwt finds a genuine one of somebody else in the headers that the
 * app has assigned, and not where the verifier's cache takes it for another.
 */
import { isDeepStrictEqual } from 'node:util'
import fastifyJwt from '@fastify/jwt'
import type { FastifyJWTOptions } from '@fastify/jwt'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { WsAuthOptions } from '../../lib/options/public-options'
import type { RouteWsAuth } from '../../lib/options/public-route-options'
import { SECRET, sign, start, within } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { forge, forgeWithSignatureOf, HEADER_CHANGES, loadHeaderSchemas, oddBearer, secondsFromNow } from '../helpers/forged'
import type { HeaderSchema } from '../helpers/forged'
import { clientFrame, plainText, RawClient, upgrade } from '../helpers/raw-client'
import type { Frame, RequestSettings } from '../helpers/raw-client'

const TEXT = 1
const CLOSE = 8
const LOGOUT_PATH = '/logout'
const ISSUER = 'https://issuer.example'
const INVALID = { status: 401, code: 'WS_AUTH_TOKEN_INVALID' }

const mine = sign({ sub: 'mallory', roles: ['member'], exp: secondsFromNow(600) })
const forged = forge()

type Apply = (request: FastifyRequest) => void
type Hook = 'onRequest' | 'preParsing' | 'preValidation' | 'preHandler'

interface Way {
  /** A hook of the app that changes the headers, and whether it comes before those of the plugin. */
  readonly hook?: readonly [Hook, 'before' | 'after', Apply]
  /** Called by the handler. */
  readonly inHandler?: Apply
  /** The schema of each websocket route. */
  readonly schema?: HeaderSchema
}

const schemas = loadHeaderSchemas()
const copy: Apply = HEADER_CHANGES['assigns a copy and one header more to request.headers']

/** How headers are changed before the token is verified, or verified again. */
const WAYS: Record<string, Way> = {
  'nothing changes the headers': {},
  'onRequest before the plugin assigns the headers': { hook: ['onRequest', 'before', copy] },
  'onRequest after the plugin assigns the headers': { hook: ['onRequest', 'after', copy] },
  'preParsing assigns the headers': { hook: ['preParsing', 'before', copy] },
  'preValidation before the plugin assigns the headers': { hook: ['preValidation', 'before', copy] },
  'preValidation after the plugin assigns the headers': { hook: ['preValidation', 'after', copy] },
  'preHandler assigns the headers': { hook: ['preHandler', 'after', copy] },
  'the handler assigns the headers': { inHandler: copy },
  'onRequest assigns another header alone': { hook: ['onRequest', 'before', HEADER_CHANGES['assigns another header alone to request.headers']] },
  'onRequest writes another header': { hook: ['onRequest', 'before', HEADER_CHANGES['writes another header into request.headers']] },
  'onRequest assigns the object of raw.headers': { hook: ['onRequest', 'before', HEADER_CHANGES['assigns the object of raw.headers to request.headers']] },
  'onRequest replaces raw.headers': { hook: ['onRequest', 'before', HEADER_CHANGES['replaces raw.headers by a copy']] },
  'an Ajv schema validates the headers': { schema: 'Ajv' },
  'a TypeBox schema validates the headers': { schema: 'TypeBox' },
  'a Zod schema validates the headers': { schema: 'Zod' },
  'a Joi schema validates the headers': { schema: 'Joi' }
}

interface Verifier {
  readonly before?: (app: FastifyInstance) => unknown
  readonly jwt: WsAuthOptions['jwt']
}

const cookie = { cookieName: 'token', signed: false }
const VERIFIERS: Record<string, Verifier> = {
  'a static secret': { jwt: { secret: SECRET } },
  'an async secret function': { jwt: { secret: async () => SECRET } },
  'a secret function with a callback': { jwt: { secret: (_request, _token, callback) => { callback(null, SECRET) } } },
  "the app's own @fastify/jwt": { before: (app) => app.register(fastifyJwt, { secret: SECRET }), jwt: undefined },
  "the app's own @fastify/jwt with a cookie": { before: (app) => app.register(fastifyJwt, { secret: SECRET, cookie }), jwt: undefined }
}

function addHook (app: FastifyInstance, { hook }: Way, when: 'before' | 'after'): void {
  if (hook?.[1] !== when) return
  const [name, , apply] = hook
  // `preParsing` has an argument more; an async hook of fewer arguments is all of them.
  app.addHook(name as 'onRequest', async (request) => { apply(request) })
}

async function startWith (t: Test, verifier: Verifier, way: Way, tokenCache: boolean): Promise<StartedApp> {
  const route = (await schemas)[way.schema ?? 'none']
  return await start(t, {
    server: { logger: false },
    plugin: {
      jwt: verifier.jwt,
      renewal: true,
      tokenCache: tokenCache && { max: 100, ttl: 60_000 },
      backChannelLogout: { path: LOGOUT_PATH, issuer: ISSUER, audience: 'client' }
    },
    before: async (app) => {
      await verifier.before?.(app)
      addHook(app, way, 'before')
    },
    routes: (app) => {
      addHook(app, way, 'after')
      const declare = (path: string, wsAuth: RouteWsAuth): void => {
        app.get(path, { websocket: true, wsAuth, ...route }, (socket, request) => {
          way.inHandler?.(request)
          socket.on('message', () => socket.send(JSON.stringify(request.wsAuth?.claims)))
          socket.send('hello')
        })
      }
      declare('/chat', true)
      declare('/admin', { roles: ['admin'] })
      declare('/no-header', { roles: ['admin'], token: { header: false, cookie: false } })
      declare('/first', { roles: ['admin'], token: { message: true } })
    }
  })
}

async function refusal (t: Test, port: number, settings: RequestSettings): Promise<{ status: number, code: string | null }> {
  const { answer, socket } = await upgrade(t, port, settings)
  socket.destroy()
  return { status: answer.status, code: answer.status === 101 ? null : JSON.parse(answer.body).code }
}

/** The next text frame that is no `auth.ok` of the open connection. */
async function greeting (client: RawClient): Promise<Frame> {
  for (;;) {
    const frame = await client.frame()
    if (String(frame.payload) === 'hello') return frame
  }
}

async function logoutStatus (t: Test, port: number, token: string, headers: Record<string, string>): Promise<number> {
  const body = new URLSearchParams({ logout_token: token }).toString()
  const client = await RawClient.open(t, port)
  client.send(plainText({ method: 'POST', path: LOGOUT_PATH, headers: { ...headers, 'content-type': 'application/x-www-form-urlencoded', 'content-length': String(body.length) }, body }))
  const { status } = await client.response()
  client.socket.destroy()
  return status
}

const forgedLogout = forge({ iss: ISSUER, aud: 'client', sub: 'victim', iat: secondsFromNow(0), jti: 'logout', exp: secondsFromNow(120), events: { 'http://schemas.openid.net/event/backchannel-logout': {} } })
const formatUser: NonNullable<FastifyJWTOptions['formatUser']> = (payload) => ({ ...payload as object, isFormatted: true })
const genuine = { authorization: `Bearer ${mine}` }
/** Where @fastify/jwt reads a genuine token, and this package does not. */
const BESIDE: Record<string, Record<string, string>> = {
  'in an Authorization header with odd whitespace': { authorization: oddBearer(mine) },
  'in a cookie beside another scheme': { authorization: 'Basic YTpi', cookie: `token=${mine}` }
}

/** Those that are tried without a `tokenCache` too. */
const IS_RUN_TWICE = new Set(['an async secret function', "the app's own @fastify/jwt"])

/** Collects what is not as it must be: an assertion for each attack on each app would be thousands. */
class Findings {
  readonly wrong: string[] = []

  async of (run: () => Promise<void>): Promise<void> {
    await run().catch((error: unknown) => { this.wrong.push(String(error)) })
  }

  compare (found: unknown, wanted: unknown, what: string): void {
    if (!isDeepStrictEqual(found, wanted)) this.wrong.push(`${what}: ${JSON.stringify(found)} instead of ${JSON.stringify(wanted)}`)
  }
}

/** A text frame as what it says, a close frame as its code and reason. */
async function nextOf (client: RawClient): Promise<Record<string, unknown>> {
  const { opcode, payload } = await client.frame()
  return opcode === CLOSE ? { closed: payload.readUInt16BE(0), reason: payload.subarray(2).toString() } : JSON.parse(String(payload))
}

async function tryRenewal (t: Test, findings: Findings, port: number, settings: RequestSettings, where: string): Promise<void> {
  const client = await upgrade(t, port, settings)
  await greeting(client)
  client.send(clientFrame(TEXT, JSON.stringify({ type: 'auth', token: forge({ sub: 'mallory' }) })))
  const { type, code } = await nextOf(client)
  findings.compare({ type, code }, { type: 'auth.error', code: 'WS_AUTH_TOKEN_INVALID' }, `a renewal, with a genuine token ${where}`)
  client.send(clientFrame(TEXT, 'who am I?'))
  const { sub, roles } = await nextOf(client)
  findings.compare({ sub, roles }, { sub: 'mallory', roles: ['member'] }, `the claims after a renewal, with a genuine token ${where}`)
  client.socket.destroy()
}

async function tryFirstMessage (t: Test, findings: Findings, port: number): Promise<void> {
  const client = await upgrade(t, port, { path: '/first', headers: { authorization: oddBearer(mine) } })
  client.send(clientFrame(TEXT, JSON.stringify({ type: 'auth', token: forged })))
  findings.compare(await nextOf(client), { closed: 3000, reason: 'token_invalid' }, 'a first message')
  client.socket.destroy()
}

async function tryLogouts (t: Test, findings: Findings, { app, port }: StartedApp): Promise<void> {
  const claims = { sub: 'victim', iat: secondsFromNow(-60) }
  const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign(claims)}` } })
  await greeting(client)
  for (const [where, headers] of Object.entries({ ...BESIDE, 'in the Authorization header': genuine })) {
    findings.compare(await logoutStatus(t, port, forgedLogout, headers), 400, `a logout token, with a genuine token ${where}`)
  }
  findings.compare(app.wsAuth.isRevoked(claims), false, 'whether the victim is revoked')
  client.send(clientFrame(TEXT, 'am I here?'))
  findings.compare(await nextOf(client), claims, 'what the victim hears')
  client.socket.destroy()
}

async function tryHandshakes (t: Test, findings: Findings, port: number): Promise<void> {
  findings.compare(await refusal(t, port, { path: `/admin?token=${mine}` }), { status: 403, code: 'WS_AUTH_FORBIDDEN' }, 'the genuine token of a member')
  for (const [where, headers] of Object.entries({ ...BESIDE, 'in the Authorization header': genuine })) {
    findings.compare(await refusal(t, port, { path: `/no-header?token=${forged}`, headers }), INVALID, `in the query, with a genuine token ${where} that the route does not read`)
  }
  findings.compare(await refusal(t, port, { path: `/admin?token=${forged}`, headers: { authorization: oddBearer(mine) } }), INVALID, 'in the query, with a genuine token in an Authorization header with odd whitespace')
  findings.compare(await refusal(t, port, { path: `/admin?token=${forged}` }), INVALID, 'alone, after it was sent beside a genuine one')
  findings.compare(await refusal(t, port, { path: `/no-header?token=${forged}` }), INVALID, 'alone, on the other route')
}

for (const [verifierName, verifier] of Object.entries(VERIFIERS)) {
  t.test(`with ${verifierName} a forged token is refused`, async (t) => {
    for (const [wayName, way] of Object.entries(WAYS)) {
      for (const tokenCache of IS_RUN_TWICE.has(verifierName) ? [true, false] : [true]) {
        const started = await startWith(t, verifier, way, tokenCache)
        const findings = new Findings()
        await findings.of(async () => {
          await tryRenewal(t, findings, started.port, { path: '/chat', headers: genuine }, 'in the Authorization header')
          await tryRenewal(t, findings, started.port, { path: `/chat?token=${mine}`, headers: { authorization: oddBearer(mine) } }, 'in the query, and in an Authorization header with odd whitespace')
          await tryFirstMessage(t, findings, started.port)
          await tryLogouts(t, findings, started)
          await tryHandshakes(t, findings, started.port)
        })
        t.strictSame(findings.wrong, [], `if ${wayName}, ${tokenCache ? 'with' : 'without'} tokenCache`)
        await started.app.close()
      }
    }
  })
}

t.test('a cache that takes a forged token for a genuine one admits nobody by the forged text', async (t) => {
  const verify = { cache: true, cacheKeyBuilder: (token: string) => token.slice(token.lastIndexOf('.') + 1) }
  const twin = forgeWithSignatureOf(mine)
  const rows: Record<string, { plugin: WsAuthOptions, before?: (app: FastifyInstance) => unknown }> = {
    'a static secret': { plugin: { jwt: { secret: SECRET, verify } } },
    'an async secret function': { plugin: { jwt: { secret: async () => SECRET, verify } } },
    "the app's own @fastify/jwt": { plugin: { jwt: undefined }, before: (app) => app.register(fastifyJwt, { secret: SECRET, verify }) },
    "the app's own @fastify/jwt with formatUser": { plugin: { jwt: undefined }, before: (app) => app.register(fastifyJwt, { secret: SECRET, verify, formatUser }) }
  }
  for (const [name, { plugin, before }] of Object.entries(rows)) {
    const { app, port } = await start(t, {
      plugin,
      before,
      routes: (app) => {
        app.get('/chat', { websocket: true }, (socket, request) => { socket.send(String(request.wsAuth?.sub)) })
        app.get('/admin', { websocket: true, wsAuth: { roles: ['admin'] } }, (socket) => { socket.send('admin') })
      }
    })
    const client = await upgrade(t, port, { path: `/chat?token=${mine}` })
    t.equal(String((await client.frame()).payload), 'mallory', `${name}: the genuine token is in the cache`)
    client.socket.destroy()
    t.strictSame(await refusal(t, port, { path: `/admin?token=${twin}` }), INVALID, `${name}: the forged one is refused on a route for admins`)
    t.strictSame(await refusal(t, port, { path: `/chat?token=${twin}` }), INVALID, `${name}: and on any other`)
    t.equal(app.wsAuth.connections.bySub('root').length, 0, `${name}: nobody of the forged name is connected`)
  }
})

t.test('a cache that takes a forged token for a genuine one, and a formatUser of the plugin: whoever is admitted is whom the genuine one names', async (t) => {
  const verify = { cache: true, cacheKeyBuilder: (token: string) => token.slice(token.lastIndexOf('.') + 1) }
  const { port } = await start(t, {
    plugin: { jwt: { secret: SECRET, verify, formatUser } },
    routes: (app) => {
      app.get('/chat', { websocket: true }, (socket, request) => { socket.send(JSON.stringify([request.wsAuth?.claims?.sub, request.wsAuth?.claims?.roles, request.user])) })
      app.get('/admin', { websocket: true, wsAuth: { roles: ['admin'] } }, () => {})
    }
  })
  const client = await upgrade(t, port, { path: `/chat?token=${mine}` })
  await client.frame()
  client.socket.destroy()
  const twin = forgeWithSignatureOf(mine)
  const { status } = await refusal(t, port, { path: `/admin?token=${twin}` })
  t.ok(status === 401 || status === 403, `not admitted as an admin: ${status}`)
  const other = await upgrade(t, port, { path: `/chat?token=${twin}` })
  if (other.answer.status === 101) {
    const [sub, roles, user] = JSON.parse(String((await other.frame()).payload))
    t.strictSame([sub, roles], ['mallory', ['member']])
    t.match(user, { sub: 'mallory', roles: ['member'], isFormatted: true })
  } else {
    t.equal(other.answer.status, 401)
  }
  other.socket.destroy()
})

t.test('no hook and no handler behind the plugin sees the token, however the headers were assigned', async (t) => {
  const seen: Array<{ by: string, headers: string }> = []
  const see = (by: string, request: FastifyRequest): void => { seen.push({ by, headers: JSON.stringify([request.headers, request.raw.headers, request.cookies ?? null]) }) }
  for (const [name, way] of Object.entries(WAYS)) {
    const route = (await schemas)[way.schema ?? 'none']
    const { port } = await start(t, {
      server: { logger: false },
      before: (app) => addHook(app, way, 'before'),
      routes: (app) => {
        addHook(app, way, 'after')
        app.addHook('preValidation', async (request) => { see('preValidation', request) })
        app.addHook('preHandler', async (request) => { see('preHandler', request) })
        app.get('/chat', { websocket: true, ...route }, (socket, request) => {
          way.inHandler?.(request)
          see('handler', request)
          socket.send('hello')
        })
        app.get('/cookie', { websocket: true, wsAuth: { token: { header: 'x-token' } }, ...route }, (socket, request) => {
          way.inHandler?.(request)
          see('handler', request)
          socket.send('hello')
        })
      }
    })
    const carriers: Record<string, RequestSettings> = {
      'the Authorization header': { path: '/chat', headers: genuine },
      'a cookie among others': { path: '/chat', headers: { cookie: `theme=dark; token=${mine}; lang=de` } },
      'a header of another name': { path: '/cookie', headers: { 'x-token': mine } }
    }
    for (const [carrier, settings] of Object.entries(carriers)) {
      seen.length = 0
      const client = await upgrade(t, port, settings)
      t.equal(client.answer.status, 101, `${name}: accepted by ${carrier}`)
      await within(5000, 'the handler runs', client.frame())
      client.socket.destroy()
      t.strictSame(seen.map(({ by }) => by), ['preValidation', 'preHandler', 'handler'])
      for (const { by, headers } of seen) t.notOk(headers.includes(mine), `${name}: ${by} does not see the token of ${carrier}`)
      if (carrier === 'a cookie among others') t.match(seen.at(-1)?.headers, 'theme=dark', `${name}: the other cookies stay`)
    }
  }
})

t.test('of a cookie that held the token alone nothing is left, so that a header schema which refuses an empty one admits it', async (t) => {
  for (const schema of ['none', 'Joi'] as const) {
    const { port } = await start(t, {
      server: { logger: false },
      before: (app) => { app.addHook('onRequest', async (request) => copy(request)) },
      routes: async (app) => {
        app.get('/chat', { websocket: true, ...(await schemas)[schema] }, (socket, { headers }) => { socket.send(JSON.stringify(Object.hasOwn(headers, 'cookie') ? headers.cookie : null)) })
      }
    })
    const client = await upgrade(t, port, { path: '/chat', headers: { cookie: `token=${mine}` } })
    t.equal(client.answer.status, 101, `header schema: ${schema}`)
    if (client.answer.status === 101) t.equal(String((await client.frame()).payload), 'null', 'the handler sees no cookie')
    client.socket.destroy()
  }
})
