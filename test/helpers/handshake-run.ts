/*
 * Apps as they were drawn, and what they make of the handshakes that were drawn for them.
 */
import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import fastifyJwt from '@fastify/jwt'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import type { WebSocket } from 'ws'
import fastifyWsAuth from '../../lib/index'
import { SECRET } from './app'
import { drawApp, drawScenario, opaqueText, signText } from './handshake-draws'
import type { Scenario } from './handshake-draws'
import { COOKIE_SECRET, FULL, LISTED, REVOKED } from './handshake-contract'
import type { AppRule, OpaqueAnswer, OriginRule, Outcome, RouteRule, Source } from './handshake-contract'
import { expectedOf, userOf } from './handshake-model'
import { clientFrame, RawClient } from './raw-client'

/** What of an outcome can be seen from outside. */
export type Seen = Omit<Outcome, 'verdict'>

export interface Trial {
  readonly appIndex: number
  readonly index: number
  readonly scenario: Scenario
}

interface Greeting {
  readonly source: Source | null
  readonly user: unknown
  readonly url: string
}

function answer (token: string): unknown {
  let said: OpaqueAnswer
  try {
    said = JSON.parse(Buffer.from(token.slice(2), 'base64url').toString())
  } catch {
    return null
  }
  if ('claims' in said) return said.claims
  const { throws } = said
  if (throws.startsWith('WS_AUTH_')) throw new fastifyWsAuth.WsAuthError(throws as never)
  throw Object.assign(new Error('the verifier of the app fails'), /^\d+$/.test(throws) ? { statusCode: Number(throws) } : {})
}

/** The app's own `verify`. It must not be asked what no header may have. */
function verifyOpaque (token: string): unknown {
  if (!token.startsWith('o.') || /^o\.[\w-]+$/.test(token) === false) {
    if (/[^\x21-\x7e]/.test(token)) throw new Error('asked about a token that is no visible ASCII')
    return null
  }
  const isLate = Buffer.from(token.slice(2), 'base64url').toString().includes('"isLate":true')
  return isLate ? new Promise((resolve) => setImmediate(resolve)).then(() => answer(token)) : answer(token)
}

/** The app's secret function: a key, or one of the ways in which keys are not there. */
async function findSecret (_request: unknown, token: { header?: { kid?: unknown } }): Promise<string> {
  switch (token.header?.kid) {
    case undefined: return SECRET
    case 'down': throw new Error('the keys cannot be reached')
    case 'gone': throw Object.assign(new Error('Missing Key'), { statusCode: 401 })
    case 'jwks': throw Object.assign(new Error('no applicable key found'), { code: 'ERR_JWKS_NO_MATCHING_KEY' })
    case 'getjwks': throw Object.assign(new Error('No matching JWK found in the set.'), { code: 'JWK_NOT_FOUND' })
    case 'stranger': throw Object.assign(new Error('The domain is not allowed.'), { code: 'DOMAIN_NOT_ALLOWED' })
    default: return undefined as never
  }
}

const AUTHORIZE = {
  yes: () => true,
  'async yes': async () => true,
  no: () => false,
  truthy: () => 'yes' as never,
  throws: () => { throw new Error('the policy fails') }
} as const

function originOption (rule: OriginRule): NonNullable<fastifyWsAuth.WsAuthOptions['origin']> {
  switch (rule) {
    case 'list': return LISTED
    case 'function-list': return async (origin) => LISTED.includes(origin)
    case 'function-truthy': return () => 'yes' as never
    case 'function-throws': return () => { throw new Error('the origins cannot be read') }
    default: return rule
  }
}

function routeOption (route: RouteRule): fastifyWsAuth.RouteWsAuth {
  if (route.access === 'optional') return 'optional'
  if (route.access === 'public') return false
  const { roles, scopes, authorize, token, origin, rejectWith, closeCodes, requireTicket } = route
  return {
    ...roles === undefined ? {} : { roles },
    ...scopes === undefined ? {} : { scopes },
    ...authorize === undefined ? {} : { authorize: AUTHORIZE[authorize] },
    ...token === undefined ? {} : { token },
    ...origin === undefined ? {} : { origin: originOption(origin) },
    ...rejectWith === undefined ? {} : { rejectWith },
    ...closeCodes === undefined ? {} : { closeCodes },
    ...requireTicket === undefined ? {} : { tickets: { require: requireTicket } }
  }
}

/** What is given of the options: what is `undefined` is not. */
function tokenOption ({ cookie, ...token }: AppRule['token']): AppRule['token'] {
  return cookie === undefined ? token : { ...token, cookie }
}

function pluginOptions (rule: AppRule, backplane: fastifyWsAuth.Backplane): fastifyWsAuth.WsAuthOptions {
  const { verifier, tickets, user, perUser, handleProtocols } = rule
  const choose = (protocols: Set<string>): string | false => ['chat', 'beta'].find((name) => protocols.has(name)) ?? false
  return {
    ...verifier === 'custom' ? { verify: verifyOpaque } : verifier === 'registered' ? {} : { jwt: jwtOptions(rule) },
    cookie: { secret: COOKIE_SECRET },
    token: tokenOption(rule.token),
    origin: originOption(rule.origin),
    rejectWith: rule.rejectWith,
    closeCodes: rule.closeCodes,
    tickets: tickets === null ? false : { ...tickets, path: false, ttl: 600_000 },
    ...rule.hasSchema ? { claims: { type: 'object', required: ['tenant'], properties: { tenant: { const: 'acme' } } } } : {},
    ...user === 'claims' || user === 'formatted' ? {} : { user: (claims) => userOf(rule, claims as Record<string, unknown>) as object | null },
    limits: perUser === null ? {} : { perUser: 1, onLimit: perUser },
    maxTokenBytes: rule.maxTokenBytes,
    tokenCache: rule.tokenCache ? { max: 100, ttl: 60_000 } : false,
    handshakeTimeout: 60_000,
    ...handleProtocols ? { websocket: { options: { handleProtocols: choose } } } : {},
    backplane
  }
}

function jwtOptions (rule: AppRule): NonNullable<fastifyWsAuth.WsAuthOptions['jwt']> {
  const { verifier, issuer, audience, maxAge, tolerance, jwtCookie } = rule
  return {
    ...rule.user === 'formatted' ? { formatUser: (claims) => userOf(rule, Object(claims)) as object } : {},
    ...rule.distrusts ? { trusted: (_request, token) => !JSON.stringify(token).includes('"distrusted"') } : {},
    ...verifier === 'function' ? { secret: findSecret as never, decode: { complete: true } } : { secret: SECRET },
    ...jwtCookie === null ? {} : { cookie: { cookieName: jwtCookie.name, signed: jwtCookie.signed } },
    verify: {
      algorithms: ['HS256'],
      ...rule.hasVerifierCache ? { cache: true } : {},
      ...issuer === null ? {} : { allowedIss: issuer },
      ...audience === null ? {} : { allowedAud: audience },
      ...maxAge === null ? {} : { maxAge },
      ...tolerance === 0 ? {} : { clockTolerance: tolerance * 1000 }
    }
  }
}

export class TriedApp {
  readonly #app: FastifyInstance
  readonly #rule: AppRule
  /** The names under which tickets were kept, in their order. */
  readonly #kept: string[] = []
  readonly #taken = new Set<string>()
  /** Tickets by the trial and the name that they were drawn with. */
  readonly #tickets = new Map<string, { text: string, kept: string }>()

  constructor (rule: AppRule) {
    this.#rule = rule
    this.#app = Fastify({ logger: false, http: { maxHeaderSize: 131_072 }, trustProxy: rule.trustProxy, routerOptions: { maxParamLength: 20_000 } })
  }

  /** The memory of an instance, with an eye on the tickets that are taken. */
  #backplane (): fastifyWsAuth.Backplane {
    const memory = fastifyWsAuth.memoryBackplane()
    return {
      join: (member) => {
        const link = memory.join(member)
        return {
          ready: link.ready,
          get isCurrent () { return link.isCurrent },
          publish: (command) => link.publish(command),
          get: (name) => link.get(name),
          leave: () => link.leave(),
          put: (name, value, ttl) => {
            this.#kept.push(name)
            return link.put(name, value, ttl)
          },
          take: async (name) => {
            const value = await link.take(name)
            if (value !== null) this.#taken.add(name)
            return value
          }
        }
      }
    }
  }

  async start (): Promise<void> {
    const app = this.#app
    const rule = this.#rule
    const early = rule.routes.find(({ kind }) => kind === 'unprotected')
    if (early !== undefined) app.get(early.path, { websocket: true }, () => {})
    if (rule.assignsHeaders) app.addHook('onRequest', async (request) => { request.headers = { ...request.headers, 'x-trace': '1' } })
    if (rule.verifier === 'registered') await app.register(fastifyJwt, jwtOptions(rule))
    await app.register(fastifyWsAuth, pluginOptions(rule, this.#backplane()))
    for (const route of rule.routes) {
      if (route.kind === 'plain') app.get(route.path, async () => 'plain')
      if (route.kind !== 'websocket') continue
      await app.register(async (scope) => {
        if (route.hasOwnValidator === true) scope.setValidatorCompiler(() => () => true)
        scope.get(route.path, { websocket: true, wsAuth: routeOption(route) }, (socket, request) => this.#greet(socket, request.wsAuth, request.user, request.raw.url ?? ''))
      })
    }
    // A route of the test itself, which has of the options what it needs.
    const token = { header: true, subprotocol: false, query: false, cookie: false, message: false }
    const wsAuth = { token, origin: 'any', rejectWith: 'http', ...rule.tickets === null ? {} : { tickets: { require: false } } } as const
    app.get('/probe', { websocket: true, wsAuth }, () => {})
    await app.listen({ port: 0, host: '127.0.0.1' })
  }

  #greet (socket: WebSocket, connection: fastifyWsAuth.Connection | null, user: unknown, url: string): void {
    socket.send(JSON.stringify({ greeting: { source: connection?.source ?? null, user: connection === null ? null : user, url } }))
  }

  get #port (): number {
    return (this.#app.server.address() as AddressInfo).port
  }

  async close (): Promise<void> {
    await this.#app.close()
  }

  /** Issues all tickets, spends those that are to be spent, revokes what is revoked, and takes the place of who is full. */
  async prepare (trials: readonly Trial[], now: number): Promise<void> {
    const { wsAuth } = this.#app
    for (const { index, scenario: { world } } of trials) {
      for (const [name, { claims, path, origin, state }] of world.tickets) {
        if (this.#rule.tickets === null || state === 'unknown') continue
        const exp = state === 'expired' ? Math.floor(Date.now() / 1000) + 2 : claims.exp
        const { ticket } = await wsAuth.issueTicket({ ...claims, exp }, { path, origin })
        this.#tickets.set(`${index} ${name}`, { text: ticket, kept: this.#kept.at(-1) ?? '' })
        if (state === 'spent') await this.#spend(ticket)
      }
    }
    for (const jti of REVOKED.jti) await wsAuth.revoke({ jti })
    for (const sid of REVOKED.sid) await wsAuth.revoke({ sid })
    for (const sub of REVOKED.sub) await wsAuth.revoke({ sub })
    if (this.#rule.perUser === null) return
    const { issuer, audience, verifier } = this.#rule
    const claims = { sub: FULL, iat: now - 100, exp: now + 3600, tenant: 'acme', ...issuer === null ? {} : { iss: issuer }, ...audience === null ? {} : { aud: audience } }
    const token = verifier === 'custom' ? opaqueText({ claims, isLate: false }) : signText(JSON.stringify(claims))
    await this.#app.injectWS('/probe', { headers: { authorization: `Bearer ${token}` } })
  }

  async #spend (ticket: string): Promise<void> {
    const client = await this.#connect()
    await client.upgrade({ path: `/probe?${this.#rule.tickets?.query ?? ''}=${ticket}` }).response()
    client.socket.destroy()
  }

  async #connect (): Promise<RawClient> {
    const socket = connect({ port: this.#port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    const client = new RawClient(socket)
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject))
    return client
  }

  /** What this app makes of a handshake; and the URL that its handler saw, if there was one. */
  async try (trial: Trial): Promise<{ seen: Seen, url: string | null }> {
    const { index, scenario: { sent, world } } = trial
    const texts = [...world.tickets.keys()].flatMap((name) => {
      const ticket = this.#tickets.get(`${index} ${name}`)
      return ticket === undefined ? [] : [{ name, ...ticket }]
    })
    const url = texts.reduce((url, { name, text }) => url.replaceAll(name, text), sent.url)
    const takenBefore = texts.map(({ kept }) => this.#taken.has(kept))
    const { seen, url: left } = await (sent.way === 'inject' ? this.#inject(trial, url) : this.#send(trial, url))
    const spent = texts.some(({ kept }, i) => takenBefore[i] === false && this.#taken.has(kept))
    return { seen: { ...seen, spent }, url: left }
  }

  async #send ({ scenario: { sent } }: Trial, url: string): Promise<{ seen: Omit<Seen, 'spent'>, url: string | null }> {
    const client = await this.#connect()
    try {
      const { message } = sent
      const lines = sent.headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')
      const body = sent.headers.some(([name]) => name === 'Content-Length') ? 'abc' : sent.headers.some(([name]) => name === 'Transfer-Encoding') ? '0\r\n\r\n' : ''
      const frame = message === null ? '' : clientFrame(message.isBinary ? 2 : 1, message.text).toString('latin1')
      client.send(`${sent.method} ${url} HTTP/${sent.version}\r\n${lines}\r\n${body}${message?.isEarly === true ? frame : ''}`)
      const { status, headers, body: text } = await client.response()
      const plain = { status, challenge: headers['www-authenticate'] ?? null, saysVersion: headers['sec-websocket-version'] === '13', protocol: headers['sec-websocket-protocol'] ?? null }
      if (status !== 101) return { seen: { ...plain, code: codeOf(text), close: null, source: null, user: undefined }, url: null }
      if (message?.isEarly === false) client.send(frame)
      for (;;) {
        const { opcode, payload } = await client.frame()
        if (opcode === 8) return { seen: { ...plain, code: null, close: { code: payload.readUInt16BE(0), reason: payload.subarray(2).toString() }, source: null, user: undefined }, url: null }
        const greeting = greetingOf(payload.toString())
        if (greeting !== null) return { seen: { ...plain, code: null, close: null, source: greeting.source, user: greeting.user }, url: greeting.url }
      }
    } finally {
      client.socket.destroy()
    }
  }

  async #inject ({ scenario: { sent } }: Trial, url: string): Promise<{ seen: Omit<Seen, 'spent'>, url: string | null }> {
    const plain = { code: null, challenge: null, saysVersion: false, close: null, source: null, user: undefined }
    let opened: WebSocket | undefined
    const told = new Promise<{ greeting: Greeting | null, close: Seen['close'] }>((resolve) => {
      const onInit = (socket: WebSocket): void => {
        opened = socket
        socket.on('error', () => {})
        socket.on('message', (data) => {
          const greeting = greetingOf(String(data as Buffer))
          if (greeting !== null) resolve({ greeting, close: null })
        })
        socket.on('close', (code, reason) => resolve({ greeting: null, close: { code, reason: String(reason) } }))
        socket.on('open', () => { if (sent.message !== null) socket.send(sent.message.isBinary ? Buffer.from(sent.message.text) : sent.message.text) })
      }
      this.#app.injectWS(url, { headers: Object.fromEntries(sent.headers) }, { onInit }).catch((error: Error) => {
        resolve({ greeting: null, close: { code: -Number(/\d{3}$/.exec(error.message)?.[0] ?? 0), reason: '' } })
      })
    })
    const { greeting, close } = await told
    if (opened?.readyState === opened?.OPEN) opened?.terminate()
    if (close !== null && close.code <= 0) return { seen: { ...plain, status: -close.code, protocol: null }, url: null }
    return { seen: { ...plain, status: 101, protocol: null, close, source: greeting?.source ?? null, user: greeting === null ? undefined : greeting.user }, url: greeting?.url ?? null }
  }
}

function codeOf (body: string): string | null {
  try {
    return (JSON.parse(body) as { code?: string }).code ?? null
  } catch {
    return null
  }
}

function greetingOf (text: string): Greeting | null {
  try {
    return (JSON.parse(text) as { greeting?: Greeting }).greeting ?? null
  } catch {
    return null
  }
}

/** What is expected, as it can be seen: of `injectWS` little more than the status. */
export function visible ({ scenario: { world, sent } }: Trial): Outcome {
  const outcome = expectedOf(world, sent)
  return sent.way === 'raw' ? outcome : { ...outcome, code: null, challenge: null, saysVersion: false, protocol: null }
}

/** All apps and handshakes of a seed. */
export function drawAll (seed: number, apps: number, perApp: number, now: number): Array<{ rule: AppRule, trials: Trial[] }> {
  return Array.from({ length: apps }, (_, appIndex) => {
    const rule = drawApp(seed, appIndex)
    const trials = Array.from({ length: perApp }, (_, index) => ({ appIndex, index, scenario: drawScenario(seed, appIndex, index, rule, now) }))
    return { rule, trials }
  })
}
