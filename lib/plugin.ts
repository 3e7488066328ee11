/*
 * The plugin: registers what it stands on, decorates, adds its hooks. What the checks are is in `handshake.ts`.
 */
import type { Server } from 'node:http'
import fastifyCookie from '@fastify/cookie'
import fastifyJwt from '@fastify/jwt'
import type { JWT } from '@fastify/jwt'
import fastifyWebsocket from '@fastify/websocket'
import type { WebsocketPluginOptions } from '@fastify/websocket'
import type { FastifyInstance, onResponseHookHandler } from 'fastify'
import { Audit } from './audit'
import type { BackplaneLink } from './backplane'
import { Connections } from './connections'
import { chooseProtocol } from './credentials'
import type { KnownNames } from './credentials'
import { withDeadline } from './deadline'
import { FirstMessages } from './first-messages'
import { copyData } from './frozen'
import { Gate } from './gate'
import { startHeartbeat } from './heartbeat'
import { Instance } from './instance'
import { warnOfShortSecret, withSafeSecret } from './jwt-secret'
import { createJwtVerifier } from './jwt-verifier'
import { Life } from './life'
import { Limits } from './limits'
import { addLogoutRoute } from './logout-route'
import { CLOSE_TIMEOUT, readOptions } from './options'
import type { CompleteOptions, TokenSources, WsAuthOptions } from './options'
import { Refuser } from './refusal'
import { Renewals } from './renewal'
import { userSetter } from './request-user'
import type { Slashes } from './route-path'
import { addDryRun, learnNames, learnPath, markRoute, seenRouteOf, wrapWebsocketHandler } from './routes'
import type { DeclaredRoute } from './routes'
import { shutDown } from './shutdown'
import { guardedSocketClass } from './socket'
import { Stats } from './stats'
import { addTicketRoute } from './ticket-route'
import { claimsOfTicket, Tickets } from './tickets'
import type { IssuedTicket } from './tickets'
import { cachingVerifier } from './token-cache'
import { createCustomVerifier } from './token-verifier'
import type { Verifier } from './token-verifier'
import { Upgrade, upgradeOf, Upgrades } from './upgrade'
import { holdConnectionEvents } from './visibility'

/** How long the start of the app waits for the backplane, in milliseconds. After that, handshakes are refused until it is there. */
const JOIN_TIMEOUT = 2000
/** How long its end does, in milliseconds. */
const LEAVE_TIMEOUT = 3000

/** The servers that have it: a second one would answer each upgrade a second time. */
const guarded = new WeakSet<object>()

/** An @fastify/jwt that is registered. */
interface FoundJwt {
  readonly decorator: JWT
  /** The request decorator that verifies. */
  readonly method: string
  /** The request decorator that it sets. */
  readonly userDecorator: string
}

/** Authenticated websockets for Fastify; see {@link WsAuthOptions} for its options. */
export async function registerWsAuth (app: FastifyInstance, given: WsAuthOptions): Promise<void> {
  const read = readOptions(given)
  assertNoWebsocket(app)
  guarded.add(app.server)
  await registerCookie(app, read)
  await registerJwt(app, read)
  const jwt = findJwt(app, read)
  const options = withCookie(app, read, jwt)

  const names = knownNames(app, options)
  const connections = new Connections()
  const stats = new Stats()
  const audit = new Audit(stats)
  const upgrades = new Upgrades((request, why, startedAt) => audit.unanswered(request, app.log, why, startedAt))
  const limits = new Limits(options.limits, connections, () => upgrades.size + firstMessages.size)
  const verifier = createVerifier(app, options, jwt)
  const instance = new Instance({
    backplane: options.backplane,
    connections,
    log: app.log,
    revocationTtl: options.revocationTtl,
    livesWithoutExpiry: options.verify === undefined,
    onOutage: () => life.closeUnavailable()
  })
  attend(app, instance.link)
  const tickets = options.tickets.query === null ? null : new Tickets(instance.link, options.tickets.ttl, verifier.rules)
  const services = { options, verifier, limits, instance, tickets }
  const setUser = userSetter(jwt?.userDecorator ?? null)
  const renewals = new Renewals(services, audit, setUser)
  const life: Life = new Life({ options, clockTolerance: verifier.rules.clockTolerance, connections, limits, audit, renewals, instance })
  const firstMessages: FirstMessages = new FirstMessages({ services, limits, audit, life, setUser })
  const websocket = websocketOptions(options, names)
  const refuser = new Refuser(websocket.options?.handleProtocols)
  const gate = new Gate({ services, names, audit, life, firstMessages, setUser, refuser, server: () => app.websocketServer })

  if (!app.hasRequestDecorator('user')) app.decorateRequest('user', null as never)
  app.decorateRequest('wsAuth', null)
  app.decorate('wsAuth', {
    connections,
    stats: () => stats.snapshot(connections.size, upgrades.size + firstMessages.size),
    issueTicket: async (claims, binding = {}) => await issueTicket(tickets, options, claims, binding),
    isRevoked: (claims) => instance.isRevoked(claims),
    revoke: async (match, revokeOptions) => await instance.revoke(match, revokeOptions),
    disconnect: async (match, disconnectOptions) => await instance.disconnect(match, disconnectOptions)
  })

  const server = (options.websocket.options?.server ?? app.server) as Server
  upgrades.listenFirst(server, names, options.handshakeTimeout)
  app.addHook('preValidation', gate.onRequest)
  app.addHook('onReady', (done) => { done(compileClaims(app, options)) })
  // @fastify/websocket wraps the handler that it finds: ours has to be there before, and the dry run after.
  app.addHook('onRoute', (route: DeclaredRoute) => {
    const seen = markRoute(route, options)
    learnPath(names, route, seen)
    if (seen.kind === 'http') return
    assertCookie(app, seen.options.token)
    learnNames(names, seen.options)
    wrapWebsocketHandler(route, gate.open)
  })
  let onGone = (): void => {}
  // Before that of @fastify/websocket, which would close the sockets without a code.
  app.addHook('preClose', (done) => {
    // An app whose registration failed has none, and is closed all the same.
    if (app.hasDecorator('websocketServer')) onGone = shutDown({ upgrades, gate, firstMessages, life, server: app.websocketServer })
    done()
  })
  app.addHook('onClose', (_app, done) => { onGone(); done() })
  app.addHook('onResponse', afterWriting)
  await app.register(fastifyWebsocket, websocket)
  holdConnectionEvents(app.websocketServer)
  if (options.heartbeat !== null) app.addHook('preClose', stopping(startHeartbeat(connections, options.heartbeat.interval)))
  app.addHook('onRoute', (route: DeclaredRoute) => {
    const seen = seenRouteOf(route)
    if (seen?.kind === 'websocket' && seen.hasDryRun) addDryRun(route)
  })
  if (tickets !== null && options.tickets.path !== null) {
    addTicketRoute(app, options.tickets.path, { options, tickets, audit, takeAsker: gate.takeAsker })
  }
  if (options.backChannelLogout !== null) await addLogoutRoute(app, options.backChannelLogout, { options, verifier, instance })
  upgrades.listenLast(server)
}

/** Waits for the others at the start, and leaves them at the end. */
function attend (app: FastifyInstance, link: BackplaneLink): void {
  let left: Promise<void> | undefined
  const { ready } = link
  // It is waited for only later, and what rejects until then would end the process.
  Promise.resolve(ready).catch(() => {})
  app.addHook('onReady', async () => {
    await withDeadline(ready, JOIN_TIMEOUT, 'joining the backplane').catch((error: unknown) => {
      app.log.warn({ err: error }, 'handshakes are refused until the backplane can be reached')
    })
  })
  // Before anybody waits for an answer of ours.
  app.addHook('preClose', (done) => { left = leave(app, link); done() })
  app.addHook('onClose', async () => await left)
}

/** Whatever becomes of it, the app is closed. */
async function leave (app: FastifyInstance, link: BackplaneLink): Promise<void> {
  try {
    await withDeadline(link.leave(), LEAVE_TIMEOUT, 'leaving the backplane')
  } catch (error) {
    app.log.warn({ err: error }, 'the backplane could not be left')
  }
}

async function issueTicket (tickets: Tickets | null, options: CompleteOptions, given: unknown, binding: unknown): Promise<IssuedTicket> {
  if (tickets === null) throw new TypeError('"tickets" option must be on for issueTicket')
  const claims = claimsOfTicket(given)
  const { formatUser } = options.jwt ?? {}
  const user = formatUser === undefined ? claims : copyData(formatUser(copyData(claims) as never))
  return await tickets.issue({ claims, user }, binding)
}

/** A scope may have registered it that cannot be seen from here. */
function assertNoWebsocket (app: FastifyInstance): void {
  if (guarded.has(app.server)) {
    throw new Error('fastify-ws-auth is registered already: once is enough for all routes that are declared after it')
  }
  if (app.hasPlugin('@fastify/websocket')) {
    throw new Error('@fastify/websocket is registered already: register fastify-ws-auth in its place and pass its options as "websocket"')
  }
}

/** Only where a cookie may be asked for: @fastify/cookie does not load everywhere (Jest). */
async function registerCookie (app: FastifyInstance, { cookie, token }: CompleteOptions): Promise<void> {
  if (app.hasPlugin('@fastify/cookie')) {
    if (cookie !== undefined) app.log.warn('the "cookie" option of fastify-ws-auth is not used: @fastify/cookie is registered already')
  } else if (token.cookie !== null || cookie !== undefined) {
    await app.register(fastifyCookie, cookie ?? {})
  }
}

async function registerJwt (app: FastifyInstance, { jwt, verify }: CompleteOptions): Promise<void> {
  if (jwt !== undefined) {
    if (app.hasDecorator('jwt')) throw new TypeError('"jwt" option must be left out: @fastify/jwt is registered already')
    await app.register(fastifyJwt, withSafeSecret(jwt))
    warnOfShortSecret(jwt, app.log)
  } else if (verify === undefined && !app.hasDecorator('jwt')) {
    throw new TypeError('"jwt" option must be given, unless the app registers @fastify/jwt before or "verify" is given')
  }
}

/** The @fastify/jwt in use, by whoever it was registered; `null` where there is none. */
function findJwt (app: FastifyInstance, { jwt, jwtNamespace }: CompleteOptions): FoundJwt | null {
  if (!app.hasDecorator('jwt')) return null
  const namespace = jwtNamespace ?? jwt?.namespace
  const decorator = namespace === undefined ? app.jwt : (app.jwt as unknown as Record<string, JWT | undefined>)[namespace]
  if (typeof decorator?.verify !== 'function') {
    throw new TypeError(`"jwtNamespace" option must be a namespace of the @fastify/jwt that is registered${namespace === undefined ? '' : `, not '${namespace}'`}`)
  }
  const method = jwt?.jwtVerify ?? (namespace === undefined ? 'jwtVerify' : `${namespace}JwtVerify`)
  if (!app.hasRequestDecorator(method)) {
    throw new TypeError(`"jwtNamespace" option must be a namespace with the default name of its method, ${method}`)
  }
  return { decorator, method, userDecorator: (decorator.options as unknown as { decoratorName: string }).decoratorName }
}

function createVerifier (app: FastifyInstance, options: CompleteOptions, jwt: FoundJwt | null): Verifier {
  const verifier = options.verify === undefined && jwt !== null
    ? createJwtVerifier(app, jwt.decorator, jwt.method, options.jwt)
    : createCustomVerifier(options.verify as NonNullable<CompleteOptions['verify']>)
  return options.tokenCache === null ? verifier : cachingVerifier(verifier, options.tokenCache)
}

/** The cookie of @fastify/jwt is the cookie that its users mean. */
function withCookie (app: FastifyInstance, options: CompleteOptions, jwt: FoundJwt | null): CompleteOptions {
  const cookie = jwt?.decorator.cookie
  const byDefault = { name: cookie?.cookieName ?? 'token', signed: cookie?.signed ?? false }
  const token = { ...options.token, cookie: options.token.cookie === undefined ? byDefault : options.token.cookie }
  assertCookie(app, token)
  return { ...options, token }
}

function assertCookie (app: FastifyInstance, { cookie }: TokenSources): void {
  if (cookie == null) return
  if (!app.hasDecorator('parseCookie')) {
    throw new TypeError('"cookie" option must be given where a route asks for a cookie and the plugin does not')
  }
  if (cookie.signed && !app.hasRequestDecorator('unsignCookie')) {
    throw new TypeError('"cookie" option must have a secret: the cookie of the token is signed')
  }
}

function knownNames (app: FastifyInstance, options: CompleteOptions): KnownNames {
  const { routerOptions, ...config } = app.initialConfig
  const { useSemicolonDelimiter: isDelimiter, maxParamLength, ignoreTrailingSlash, ignoreDuplicateSlashes } = { ...config, ...routerOptions } as Slashes & { useSemicolonDelimiter?: boolean, maxParamLength?: number }
  const names: KnownNames = { sources: new Set(), query: new Set(), subprotocol: new Set(), paths: [], hasParam: false, queryStart: isDelimiter === true ? /[?#;]/ : /[?#]/, slashes: { ignoreTrailingSlash, ignoreDuplicateSlashes }, maxParamLength }
  learnNames(names, options)
  return names
}

/** Of ws's options, of which its types do not know this one. */
const BY_DEFAULT = { closeTimeout: CLOSE_TIMEOUT }

function websocketOptions ({ websocket }: CompleteOptions, names: KnownNames): WebsocketPluginOptions {
  const { handleProtocols } = websocket.options ?? {}
  return {
    ...websocket,
    options: {
      ...BY_DEFAULT,
      ...websocket.options,
      WebSocket: guardedSocketClass(websocket.options?.WebSocket),
      handleProtocols: (offered, request) => chooseProtocol(offered, names.subprotocol, handleProtocols?.(offered, request))
    }
  }
}

/**
 * @fastify/websocket destroys the socket of an answered upgrade in its own, which is called while the socket is still being told
 * that all was written. Node makes an error with its stack of that, of which nobody hears: 15 us of each refusal.
 */
const afterWriting: onResponseHookHandler = ({ raw }, _reply, done) => {
  if (upgradeOf(raw) instanceof Upgrade) process.nextTick(done)
  else done()
}

/** A hook that stops something. */
function stopping (stop: () => void): (done: () => void) => void {
  return (done) => { stop(); done() }
}

/** As early as it can be: where no route of the app has a schema there is no validator yet, and the first handshake compiles it. */
function compileClaims (app: FastifyInstance, { claims }: CompleteOptions): Error | undefined {
  if (claims === undefined || app.validatorCompiler === undefined) return undefined
  try {
    app.validatorCompiler({ schema: claims, method: 'GET', url: '/', httpPart: 'claims' })
    return undefined
  } catch (error) {
    return new TypeError('"claims" option must be a schema that the validator of the app can compile', { cause: error })
  }
}
