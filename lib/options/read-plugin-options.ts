/*
 * Reads the options of the plugin: checks each, completes it with its default, and fails by its name.
 */
import type { FastifyJWTOptions } from '@fastify/jwt'
import type { WebsocketPluginOptions } from '@fastify/websocket'
import type { Backplane } from '../backplane/contract'
import { memoryBackplane } from '../backplane/memory'
import {
  checkKeys, invalid, optional, readDelay, readFunction, readInteger, readObject, readOptionalObject
} from '../base/checks'
import { CLOSE_TIMEOUT } from '../base/close-codes'
import { DEFAULT_CLOSE_CODES } from '../base/errors'
import { rolesOf, scopesOf } from '../token/roles-and-scopes'
import { checkWebsocketKeys } from './check-websocket-keys'
import type { CompleteOptions, HandshakeOptions } from './complete-options'
import { readDrain } from './read-drain'
import { readBackChannelLogout, readSignals, readTickets } from './read-endpoint-options'
import { readHandshakeOptions } from './read-handshake-options'
import { readPluginLimits } from './read-limits'
import { readRecheck } from './read-recheck'
import { DEFAULT_TOKEN_SOURCES } from './read-token-sources'

const MAX_CACHE_TTL = 60_000
const DAY = 86_400_000
const DEFAULTS: Omit<HandshakeOptions, 'tickets' | 'limits'> = {
  token: DEFAULT_TOKEN_SOURCES,
  origin: 'same-host',
  requireTls: false,
  rejectWith: 'http',
  closeCodes: DEFAULT_CLOSE_CODES,
  maxLifetime: DAY,
  expiryGrace: 0,
  renewal: 'offered',
  verify: undefined,
  jwtNamespace: undefined,
  claims: undefined,
  user: undefined,
  subject: undefined
}
const BACKPLANE = 'a backplane, such as memoryBackplane() or redisBackplane({ client })'

const KEYS = ['jwt', 'jwtNamespace', 'cookie', 'websocket', 'token', 'verify', 'claims', 'user', 'roles', 'scopes', 'origin', 'rejectWith',
  'closeCodes', 'tokenCache', 'renewal', 'expiryGrace', 'maxLifetime', 'handshakeTimeout', 'maxTokenBytes', 'limits', 'heartbeat', 'tickets',
  'revocationTtl', 'backplane', 'backChannelLogout', 'confirm', 'subject', 'groups', 'upgrades', 'routes', 'recheck', 'signals', 'drain', 'requireTls']

/** Options of other places, and where they belong. */
const ELSEWHERE: ReadonlyMap<string, string> = new Map([
  ...['secret', 'sign', 'decode', 'trusted', 'formatUser', 'namespace', 'public', 'private'].map((name) => [name, `jwt.${name}`] as const),
  ...['algorithms', 'allowedIss', 'allowedAud', 'clockTolerance', 'maxAge'].map((name) => [name, `jwt.verify.${name}`] as const),
  ...['header', 'subprotocol', 'query', 'param', 'message'].map((name) => [name, `token.${name}`] as const),
  ...['perUser', 'onLimit', 'pending', 'connections', 'messages', 'bytes', 'idle'].map((name) => [name, `limits.${name}`] as const),
  ...['errorHandler', 'preClose'].map((name) => [name, `websocket.${name}`] as const),
  ...['maxPayload', 'perMessageDeflate', 'handleProtocols', 'server'].map((name) => [name, `websocket.options.${name}`] as const),
  ['authorize', 'wsAuth.authorize of a route']
])

/**
 * Checks the plugin's options and completes them.
 *
 * @throws TypeError `"<option>" option must be <what>`
 */
export function readPluginOptions (given: unknown): CompleteOptions {
  const options = readOptionalObject('options', given)
  checkKeys(options, '', KEYS, ELSEWHERE)
  if (options.jwt !== undefined && options.jwtNamespace !== undefined) {
    invalid('jwtNamespace', 'left out if "jwt" is given: it names an @fastify/jwt that the app registered')
  }
  checkWebsocketKeys(options.websocket)
  const tickets = readTickets(options.tickets)
  const limits = readPluginLimits(options.limits)
  return {
    ...readHandshakeOptions(options, '', { ...DEFAULTS, tickets, limits }),
    tickets,
    limits,
    jwt: optional(options.jwt, (value) => readObject('jwt', value) as unknown as FastifyJWTOptions),
    cookie: optional(options.cookie, (value) => readObject('cookie', value)),
    websocket: readWebsocket(options.websocket),
    confirm: readFunction('confirm', options.confirm),
    groups: readFunction('groups', options.groups),
    roles: readFunction('roles', options.roles) ?? rolesOf,
    scopes: readFunction('scopes', options.scopes) ?? scopesOf,
    tokenCache: readTokenCache(options.tokenCache),
    revocationTtl: readInteger('revocationTtl', options.revocationTtl, 1, Number.MAX_SAFE_INTEGER, 30 * DAY),
    backplane: optional(options.backplane, readBackplane) ?? memoryBackplane(),
    backChannelLogout: readBackChannelLogout(options.backChannelLogout),
    signals: readSignals(options.signals),
    upgrades: readFunction('upgrades', options.upgrades),
    routes: readRoutes(options.routes),
    heartbeat: readHeartbeat(options.heartbeat),
    recheck: readRecheck(options.recheck),
    drain: readDrain(options.drain),
    handshakeTimeout: readDelay('handshakeTimeout', options.handshakeTimeout, 10_000),
    maxTokenBytes: readInteger('maxTokenBytes', options.maxTokenBytes, 1, Number.MAX_SAFE_INTEGER, 8192)
  }
}

/** The policies are read when their routes are declared. */
function readRoutes (value: unknown): ReadonlyMap<string, unknown> {
  const routes = Object.entries(readOptionalObject('routes', value, 'an object with paths for its keys'))
  for (const [path] of routes) if (!path.startsWith('/') && path !== '*') invalid(`routes.${path}`, 'a path that begins with a slash')
  return new Map(routes)
}

function readTokenCache (value: unknown): CompleteOptions['tokenCache'] {
  if (value === undefined || value === false) return null
  const cache = readObject('tokenCache', value, 'false or { max, ttl }')
  checkKeys(cache, 'tokenCache.', ['max', 'ttl'])
  return {
    max: readInteger('tokenCache.max', cache.max, 1, 2 ** 24),
    ttl: readInteger('tokenCache.ttl', cache.ttl, 1, MAX_CACHE_TTL)
  }
}

function readBackplane (value: unknown): Backplane {
  const backplane = readObject('backplane', value, BACKPLANE)
  if (typeof backplane.join !== 'function') invalid('backplane', BACKPLANE)
  return value as Backplane
}

function readHeartbeat (value: unknown): CompleteOptions['heartbeat'] {
  if (value === undefined || value === false) return null
  if (typeof value === 'number') return { interval: readDelay('heartbeat', value) }
  const heartbeat = readObject('heartbeat', value, 'false, a number of milliseconds, or { interval }')
  checkKeys(heartbeat, 'heartbeat.', ['interval'])
  return { interval: readDelay('heartbeat.interval', heartbeat.interval) }
}

/** Refuses the settings of ws that would break a promise of this package; see {@link CLOSE_TIMEOUT}. */
function readWebsocket (value: unknown): WebsocketPluginOptions {
  const websocket: WebsocketPluginOptions = readOptionalObject('websocket', value)
  readFunction('websocket.errorHandler', websocket.errorHandler)
  readFunction('websocket.preClose', websocket.preClose)
  const { closeTimeout, clientTracking } = readOptionalObject('websocket.options', websocket.options)
  readInteger('websocket.options.closeTimeout', closeTimeout, 1, CLOSE_TIMEOUT, CLOSE_TIMEOUT)
  if (clientTracking !== undefined && clientTracking !== true) {
    invalid('websocket.options.clientTracking', 'left out: app.close() needs the list of all sockets')
  }
  return websocket
}
