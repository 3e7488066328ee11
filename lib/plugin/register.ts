/*
 * The plugin: registers what it stands on, decorates, adds its hooks. What the checks are is in `handshake.ts`.
 */
import type { IncomingMessage, Server } from 'node:http'
import fastifyCookie from '@fastify/cookie'
import fastifyJwt from '@fastify/jwt'
import type { JWT } from '@fastify/jwt'
import fastifyWebsocket from '@fastify/websocket'
import type { WebsocketPluginOptions } from '@fastify/websocket'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { Audit } from '../audit/audit'
import type { BackplaneLink } from '../backplane/contract'
import { ClaimsSchema } from '../authentication/claims-schema'
import { Connections } from '../connection/registry'
import { chooseProtocol } from '../credentials/credentials'
import type { KnownNames } from '../credentials/credentials'
import { withDeadline } from '../base/deadline'
import { WaitingRoom } from '../in-band/waiting-room'
import { isReadOnly, rootOf } from '../base/fastify-internals'
import { copyData } from '../token/frozen-data'
import { Gate } from '../handshake/pre-validation'
import { startHeartbeat } from '../connection/heartbeat'
import { Instance } from '../revocation/instance'
import { RevocationCheck } from '../revocation/revocation-check'
import { Revocations } from '../backplane/revocation-list'
import { warnOfShortSecret, withSafeSecret } from '../token/jwt-secret'
import { createJwtVerifier } from '../token/jwt-verifier'
import { Life } from '../connection/lifecycle'
import { Limits, Pending } from '../connection/limits'
import { addLogoutRoute } from '../endpoints/back-channel-logout'
import { CLOSE_TIMEOUT } from '../base/close-codes'
import { readPluginOptions } from '../options/read-plugin-options'
import type { CompleteOptions, TokenSources } from '../options/complete-options'
import type { WsAuthOptions } from '../options/public-options'
import { quietLog } from '../base/quiet-log'
import { errorWithoutToken } from '../base/redaction'
import { Refuser } from '../handshake/refusal'
import { Renewals } from '../in-band/renewal'
import { userSetter } from '../authentication/request-user'
import type { Slashes } from '../credentials/route-path'
import { addDryRun, assertNoMisplacedPolicy, learnNames, learnPath, markRoute, refuseUncovered, seenRouteOf, wrapWebsocketHandler } from '../handshake/routes'
import type { DeclaredRoute } from '../handshake/routes'
import { ServerListeners } from '../handshake/server-listeners'
import type { ServerEvents } from '../handshake/server-listeners'
import { shutDown } from './shutdown'
import { endOverError, guardedSocketClass } from '../connection/socket'
import { Stats } from '../audit/stats'
import { addTicketRoute } from '../endpoints/ticket'
import { isThenable } from '../base/thenable'
import { claimsOfTicket, Tickets } from '../authentication/tickets'
import type { IssuedTicket } from '../authentication/tickets'
import { cachingVerifier } from '../token/caching-verifier'
import { createCustomVerifier } from '../token/verifier'
import type { Verifier } from '../token/verifier'
import { awaitsMessage, DryRun, Upgrades } from '../handshake/upgrade'

/** How long the start of the app waits for the backplane, in milliseconds. After that, handshakes are refused until it is there. */
const JOIN_TIMEOUT = 2000
/** How long its end does, in milliseconds. */
const LEAVE_TIMEOUT = 3000
/** How long it waits for the app's own `websocket.preClose`, in milliseconds: the closing handshakes have 3 s after it. */
const PRE_CLOSE_TIMEOUT = 2000

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
  const read = readPluginOptions(given)
  assertNoWebsocket(app)
  if (isReadOnly(app, 'user')) throw new TypeError('the request decorator "user" must be one that can be set: the app gave it a getter and no setter')
  const claimsSchema = new ClaimsSchema(read.claims)
  await registerCookie(app, read)
  await registerJwt(app, read)
  const jwt = findJwt(app, read)
  const options = withCookie(app, read, jwt)

  const names = knownNames(app, options)
  const connections = new Connections()
  const stats = new Stats()
  const audit = new Audit(stats)
  const pending = new Pending()
  const upgrades = new Upgrades(pending, (request, why, startedAt) => audit.unanswered(request, app.log, why, startedAt))
  let isReady = false
  const listeners = listen(app, options, names, { isReady: () => isReady, onEarly: (request, socket) => upgrades.turnAway(request, socket) })
  const limits = new Limits(options.limits, connections, pending)
  const verifier = createVerifier(app, options, jwt)
  const { backplane, revocationTtl } = options
  const revocations = new Revocations()
  const instance = new Instance({ backplane, connections, revocations, log: app.log, revocationTtl })
  const revocation = new RevocationCheck({ revocations, link: instance.link, log: app.log, revocationTtl, livesWithoutExpiry: options.verify === undefined })
  attend(app, instance.link)
  const tickets = options.tickets.query === null ? null : new Tickets(instance.link, options.tickets.ttl, verifier.rules)
  const services = { options, names, verifier, claimsSchema, limits, revocation, tickets }
  const setUser = userSetter(jwt?.userDecorator ?? null)
  const renewals = new Renewals(services, audit, setUser)
  const life = new Life({ options, rules: verifier.rules, connections, limits, audit, renewals, revocation })
  const waitingRoom = new WaitingRoom({ services, limits, audit, life, setUser }, pending)
  const websocket = websocketOptions(app, options, names, listeners)
  const refuser = new Refuser(websocket.options?.handleProtocols)
  const gate = new Gate({ services, audit, life, waitingRoom, pending, setUser, refuser })

  if (!app.hasRequestDecorator('user')) app.decorateRequest('user', null as never)
  app.decorateRequest('wsAuth', null)
  app.decorate('wsAuth', {
    connections,
    stats: () => stats.snapshot(connections.size, pending.count),
    issueTicket: async (claims, binding = {}) => await issueTicket(tickets, options, claims, binding),
    isRevoked: (claims) => revocation.isRevoked(claims),
    revoke: async (match, revokeOptions) => await instance.revoke(match, revokeOptions),
    disconnect: async (match, disconnectOptions) => await instance.disconnect(match, disconnectOptions)
  })

  upgrades.listenFirst(listeners.relay, names, options.handshakeTimeout)
  guardOtherScopes(app, gate)
  app.addHook('preValidation', gate.onRequest)
  const declared: DeclaredRoute[] = []
  app.addHook('onReady', async () => {
    claimsSchema.compile(app)
    // A hook of the app may have put a policy beside its place after ours had looked.
    for (const route of declared.splice(0)) assertNoMisplacedPolicy(route)
    isReady = true
  })
  // @fastify/websocket wraps the handler that it finds: ours has to be there before, and the dry run after.
  app.addHook('onRoute', (route: DeclaredRoute) => {
    const seen = markRoute(route, options)
    declared.push(route)
    learnPath(names, route, seen)
    if (seen.kind === 'http') return
    assertCookie(app, seen.options.token)
    learnNames(names, seen.options)
    wrapWebsocketHandler(route, gate.open)
  })
  let isListening = false
  let onGone = (): void => {}
  // Before that of @fastify/websocket, which would close the sockets without a code.
  app.addHook('preClose', (done) => {
    // An app whose registration failed has none, and is closed all the same.
    if (!isListening) return done()
    const close = (): void => {
      onGone = shutDown({ gate, waitingRoom, life, server: app.websocketServer })
      done()
    }
    listeners.close()
    upgrades.close()
    if (options.websocket.preClose === undefined) close()
    else void callPreClose(app, options.websocket.preClose).then(close)
  })
  app.addHook('onClose', (_app, done) => { onGone(); done() })
  app.addHook('onResponse', gate.onResponse)
  await app.register(fastifyWebsocket, websocket)
  isListening = true
  waitingRoom.attach(app.websocketServer, awaitsMessage)
  if (options.heartbeat !== null) app.addHook('preClose', stopping(startHeartbeat(connections, options.heartbeat.interval)))
  app.addHook('onRoute', (route: DeclaredRoute) => {
    const seen = seenRouteOf(route)
    if (seen?.kind === 'websocket' && seen.hasDryRun) addDryRun(route, names)
  })
  if (tickets !== null && options.tickets.path !== null) {
    addTicketRoute(app, options.tickets.path, { options, tickets, audit, names, takeAsker: gate.takeAsker })
  }
  if (options.backChannelLogout !== null) await addLogoutRoute(app, options.backChannelLogout, { options, verifier, instance })
  upgrades.listenLast(listeners.relay)
}

/** Listens to the server of the app, or to one of its own, until the app has closed. */
function listen (app: FastifyInstance, { websocket, handshakeTimeout }: CompleteOptions, names: KnownNames, early: Pick<ServerEvents, 'isReady' | 'onEarly'>): ServerListeners {
  const server = (websocket.options?.server ?? app.server) as Server
  const onPlainHandshake = (request: IncomingMessage): void => DryRun.mark(request, names)
  const listeners = new ServerListeners(server, app.server, { ...early, onPlainHandshake, timeout: handshakeTimeout })
  app.addHook('onClose', (_app, done) => { listeners.release(); done() })
  return listeners
}

/** A plugin that is registered in a scope has hooks there and below. The server is that of all scopes, and so are its upgrades. */
function guardOtherScopes (app: FastifyInstance, gate: Gate): void {
  const root = rootOf(app)
  if (root === app) return
  root.addHook('onRequest', gate.onForeignRequest)
  root.addHook('onRoute', refuseUncovered)
}

/** Has the app tell its clients what it likes before they are closed. It may not keep the app from closing. */
async function callPreClose (app: FastifyInstance, preClose: NonNullable<WebsocketPluginOptions['preClose']>): Promise<void> {
  try {
    const closed = new Promise<void>((resolve, reject) => {
      const done = (error?: unknown): void => { if (error == null) resolve(); else reject(new Error('it failed', { cause: error })) }
      // It calls back, or returns a promise.
      const call = preClose as (this: FastifyInstance, done: (error?: unknown) => void) => unknown
      const result = call.call(app, done)
      if (isThenable(result)) result.then(() => resolve(), reject)
    })
    await withDeadline(closed, PRE_CLOSE_TIMEOUT, 'websocket.preClose')
  } catch (error) {
    quietLog(app.log).warn({ err: error }, 'websocket.preClose did not come to its end')
  }
}

/** Waits for the others at the start, and leaves them at the end. */
function attend (app: FastifyInstance, link: BackplaneLink): void {
  let left: Promise<void> | undefined
  const { ready } = link
  // It is waited for only later, and what rejects until then would end the process.
  Promise.resolve(ready).catch(() => {})
  app.addHook('onReady', async () => {
    await withDeadline(ready, JOIN_TIMEOUT, 'joining the backplane').catch((error: unknown) => {
      quietLog(app.log).warn({ err: error }, 'handshakes are refused until the backplane can be reached')
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
    quietLog(app.log).warn({ err: error }, 'the backplane could not be left')
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
    const { decoratorName = 'user' } = jwt as { decoratorName?: string }
    // @fastify/jwt would throw where nobody catches it, and the start would wait for it until its timeout.
    if (app.hasRequestDecorator(decoratorName)) throw new TypeError(`the request decorator "${decoratorName}" must be left to @fastify/jwt: the app has it already`)
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

function websocketOptions (app: FastifyInstance, { websocket }: CompleteOptions, names: KnownNames, { relay }: ServerListeners): WebsocketPluginOptions {
  return {
    ...websocket,
    errorHandler: errorHandler(websocket.errorHandler),
    preClose: closeServer,
    options: {
      ...BY_DEFAULT,
      ...websocket.options,
      server: relay as Server,
      WebSocket: guardedSocketClass(websocket.options?.WebSocket),
      handleProtocols: protocolChooser(app, websocket.options?.handleProtocols, names)
    }
  }
}

type ErrorHandler = NonNullable<WebsocketPluginOptions['errorHandler']>
type HandleProtocols = NonNullable<NonNullable<WebsocketPluginOptions['options']>['handleProtocols']>

/** That of @fastify/websocket terminates the socket: a client whose handler has failed would not be told. That of the app may itself fail. */
function errorHandler (own: ErrorHandler | undefined): ErrorHandler {
  return function (this: FastifyInstance, error, socket, request, reply) {
    const fail = (fault: unknown): void => {
      quietLog(request.log).error({ err: errorWithoutToken(fault, '') }, 'websocket.errorHandler failed')
      endOverError(socket)
    }
    if (own === undefined) {
      logError(request.log, error)
      endOverError(socket)
      return
    }
    try {
      const result: unknown = own.call(this, error, socket, request, reply)
      if (isThenable(result)) result.then(undefined, fail)
    } catch (fault) {
      fail(fault)
    }
  }
}

/** As @fastify/websocket logs it. What is thrown may be frozen, or throw when it is read: then a copy is logged. */
function logError (log: FastifyBaseLogger, error: unknown): void {
  try {
    log.error(error)
  } catch {
    quietLog(log).error({ err: errorWithoutToken(error, '') }, 'a websocket handler failed')
  }
}

/** Closes the server. The sockets have been told already; the function of @fastify/websocket would close them again. */
function closeServer (this: FastifyInstance, done: () => void): void {
  this.websocketServer.close()
  done()
}

/** A function of the app that fails leaves nobody who could answer: what the app speaks is not known. */
function protocolChooser (app: FastifyInstance, own: HandleProtocols | undefined, names: KnownNames): HandleProtocols {
  return (offered, request) => {
    try {
      return chooseProtocol(offered, names.subprotocol, own?.(offered, request))
    } catch (error) {
      quietLog(app.log).error({ err: error }, 'websocket.options.handleProtocols failed')
      request.socket?.destroy()
      throw error
    }
  }
}

/** A hook that stops something. */
function stopping (stop: () => void): (done: () => void) => void {
  return (done) => { stop(); done() }
}
