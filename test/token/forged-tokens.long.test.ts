/*
 * A forged token is accepted by no verifier, in no place and for no purpose, also if @fastify/jwt finds a genuine token of another
 * user in the headers that the app has assigned.
 */
import { isDeepStrictEqual } from 'node:util'
import fastifyJwt from '@fastify/jwt'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { WsAuthOptions } from '../../lib/options/public-options'
import type { RouteWsAuth } from '../../lib/options/public-route-options'
import { SECRET, sign, start } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { forge, oddBearer, secondsFromNow } from '../helpers/forged'
import { addHook, genuine, INVALID, mine, refusal, schemas, WAYS } from '../helpers/forged-app'
import type { Way } from '../helpers/forged-app'
import { clientFrame, plainText, RawClient, upgrade } from '../helpers/raw-client'
import type { Frame, RequestSettings } from '../helpers/raw-client'

const TEXT = 1
const CLOSE = 8
const LOGOUT_PATH = '/logout'
const ISSUER = 'https://issuer.example'

const forged = forge()

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
      declare('/first', { roles: ['admin'], renewal: true, token: { message: true } })
    }
  })
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
  t.test(`a forged token is refused with ${verifierName}`, async (t) => {
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
