/*
 * Apps for the property that claims come from what was verified: one for each way to verify, each with a route for each
 * schema of headers, and with hooks that change the headers of a request as the request asks for.
 */
import { createHmac } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import fastifyCookie from '@fastify/cookie'
import fastifyJwt from '@fastify/jwt'
import type { FastifyJWTOptions } from '@fastify/jwt'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fastifyWsAuth from '../../lib/index'
import type { WsAuthOptions } from '../../lib/options/public-options'
import { SECRET } from './app'
import { HEADER_CHANGES, loadHeaderSchemas } from './forged'
import type { Claims, HeaderChange } from './forged'

export const ISSUER = 'https://issuer.example'
export const LOGOUT_PATH = '/logout'

export interface Verifier {
  /** What the app registers of its own before the plugin. */
  readonly own?: FastifyJWTOptions
  readonly plugin?: WsAuthOptions
  /** Whether a cache answers for each token that has the signature of one that it knows. */
  readonly collides?: boolean
}

const later = (callback: () => void): void => { setImmediate(callback) }
const formatUser: NonNullable<FastifyJWTOptions['formatUser']> = (payload) => ({ ...payload as object, isFormatted: true })
const collidingCache = { cache: true, cacheKeyBuilder: (token: string) => token.slice(token.lastIndexOf('.') + 1) }
const cookie = { cookieName: 'token', signed: false }
const extractToken = (request: FastifyRequest): string | undefined => String(request.headers['x-token'] ?? request.headers.authorization ?? '').split(' ').at(-1)
const asyncSecret = async (): Promise<string> => SECRET

function verifyByHand (token: string): Claims | null {
  const [header, payload = '', signature] = token.split('.')
  return createHmac('sha256', SECRET).update(`${header}.${payload}`).digest('base64url') === signature ? JSON.parse(Buffer.from(payload, 'base64url').toString()) : null
}

export const VERIFIERS: Record<string, Verifier> = {
  'a static secret': { plugin: { jwt: { secret: SECRET } } },
  'a secret function that calls back at once': { plugin: { jwt: { secret: (_request, _token, callback) => { callback(null, SECRET) } } } },
  'a secret function that calls back later': { plugin: { jwt: { secret: (_request, _token, callback) => { later(() => callback(null, SECRET)) } } } },
  'an async secret function': { plugin: { jwt: { secret: asyncSecret } } },
  'a static secret in a namespace': { plugin: { jwt: { secret: SECRET, namespace: 'sockets' } } },
  'a static secret and trusted': { plugin: { jwt: { secret: SECRET, trusted: () => true } } },
  'an async secret function and an async trusted': { plugin: { jwt: { secret: asyncSecret, trusted: async () => true } } },
  'a static secret and formatUser': { plugin: { jwt: { secret: SECRET, formatUser } } },
  'an async secret function and formatUser': { plugin: { jwt: { secret: asyncSecret, formatUser } } },
  'a static secret and complete': { plugin: { jwt: { secret: SECRET, verify: { complete: true } } } },
  'a static secret and a cache': { plugin: { jwt: { secret: SECRET, verify: { cache: true } } } },
  'a static secret and a cache that collides': { plugin: { jwt: { secret: SECRET, verify: collidingCache } }, collides: true },
  'an async secret function and a cache that collides': { plugin: { jwt: { secret: asyncSecret, verify: collidingCache } }, collides: true },
  'a static secret, formatUser and a cache that collides': { plugin: { jwt: { secret: SECRET, formatUser, verify: collidingCache } }, collides: true },
  'an async secret function and extractToken': { plugin: { jwt: { secret: asyncSecret, verify: { extractToken } } } },
  "the app's static secret": { own: { secret: SECRET } },
  "the app's async secret function": { own: { secret: asyncSecret } },
  "the app's secret function that calls back later": { own: { secret: (_request, _token, callback) => { later(() => callback(null, SECRET)) } } },
  "the app's namespace": { own: { secret: SECRET, namespace: 'sockets' }, plugin: { jwtNamespace: 'sockets' } },
  "the app's namespace with an async secret function": { own: { secret: asyncSecret, namespace: 'sockets' }, plugin: { jwtNamespace: 'sockets' } },
  "the app's extractToken": { own: { secret: SECRET, verify: { extractToken } } },
  "the app's onlyCookie": { own: { secret: SECRET, cookie, verify: { onlyCookie: true } } },
  "the app's cookie": { own: { secret: SECRET, cookie } },
  "the app's decorator": { own: { secret: SECRET, decoratorName: 'who' } },
  "the app's trusted": { own: { secret: SECRET, trusted: async () => true } },
  "the app's formatUser": { own: { secret: SECRET, formatUser } },
  "the app's formatUser with an async secret function": { own: { secret: asyncSecret, formatUser } },
  "the app's complete": { own: { secret: SECRET, verify: { complete: true } } },
  "the app's cache": { own: { secret: SECRET, verify: { cache: true } } },
  "the app's cache that collides": { own: { secret: SECRET, verify: collidingCache }, collides: true },
  "the app's cache that collides, with formatUser": { own: { secret: SECRET, formatUser, verify: collidingCache }, collides: true },
  "the app's cache that collides, with an async secret function": { own: { secret: asyncSecret, verify: collidingCache }, collides: true },
  'a verify function': { plugin: { verify: verifyByHand } },
  'an async verify function': { plugin: { verify: async (token) => verifyByHand(token) } }
}

/** When the headers of a request are changed. */
export const MOMENTS = ['onRequest before', 'onRequest after', 'preParsing before', 'preParsing after', 'preValidation before', 'preValidation after', 'preHandler after', 'handler after'] as const
export type Moment = typeof MOMENTS[number]

/** One more change: an app that lays another credential over what was sent. */
export const CHANGES = [...Object.keys(HEADER_CHANGES), 'assigns another authorization to request.headers'] as Array<HeaderChange | 'assigns another authorization to request.headers'>
export type Change = typeof CHANGES[number]

/** Which of header and cookie may carry a token in all routes of an app, and whether it has a `tokenCache`. */
export interface Setting {
  readonly reads: 'header and cookie' | 'header' | 'cookie' | 'neither'
  readonly hasTokenCache: boolean
}

export const SETTINGS: readonly Setting[] = [
  { reads: 'header and cookie', hasTokenCache: false },
  { reads: 'header', hasTokenCache: true },
  { reads: 'cookie', hasTokenCache: false },
  { reads: 'neither', hasTokenCache: true }
]

export interface Seen {
  readonly user: unknown
  readonly connection: fastifyWsAuth.Connection | null
}

export interface VerifiedApp {
  readonly app: FastifyInstance
  readonly port: number
  /** What the handlers have seen of requests, by their `x-id`; of plain requests what the last hook has. */
  readonly seen: Map<string, Seen>
}

function applyChanges (request: FastifyRequest, moment: Moment): void {
  const { 'x-changes': changes, 'x-decoy': decoy } = request.raw.headers
  if (changes === undefined) return
  for (const [change, at] of JSON.parse(String(changes)) as Array<[Change, Moment]>) {
    if (at !== moment) continue
    if (change === 'assigns another authorization to request.headers') request.headers = { ...request.headers, authorization: `Bearer ${String(decoy)}` }
    else HEADER_CHANGES[change](request)
  }
}

function addChanges (app: FastifyInstance, when: 'before' | 'after'): void {
  for (const name of ['onRequest', 'preParsing', 'preValidation', 'preHandler'] as const) {
    if (name === 'preHandler' && when === 'before') continue
    // `preParsing` has an argument more; an async hook of fewer arguments is all of them.
    app.addHook(name as 'onRequest', async (request) => { applyChanges(request, `${name} ${when}` as Moment) })
  }
}

export async function startVerified ({ own, plugin }: Verifier, { reads, hasTokenCache }: Setting): Promise<VerifiedApp> {
  const seen = new Map<string, Seen>()
  const schemas = await loadHeaderSchemas()
  const app = Fastify({ routerOptions: { maxParamLength: 2000 } })
  if (own !== undefined) {
    await app.register(fastifyCookie)
    await app.register(fastifyJwt, own)
  }
  addChanges(app, 'before')
  await app.register(fastifyWsAuth, {
    renewal: true,
    tickets: true,
    tokenCache: hasTokenCache && { max: 1000, ttl: 60_000 },
    token: { header: reads.startsWith('header'), cookie: reads.includes('cookie') ? 'token' : false },
    backChannelLogout: { path: LOGOUT_PATH, issuer: ISSUER, audience: 'client' },
    ...plugin
  })
  addChanges(app, 'after')
  app.addHook('preHandler', async (request) => { seen.set(String(request.raw.headers['x-id']), { user: request.user, connection: null }) })
  for (const [name, schema] of Object.entries(schemas)) {
    const declare = (path: string, wsAuth: fastifyWsAuth.RouteWsAuth): void => {
      app.get(`/${name}${path}`, { websocket: true, wsAuth, ...schema }, (socket, request) => {
        applyChanges(request, 'handler after')
        seen.set(String(request.raw.headers['x-id']), { get user () { return request.user }, connection: request.wsAuth })
        socket.send('hello')
      })
    }
    declare('/chat', true)
    declare('/message', { renewal: true, token: { message: true } })
    declare('/param/:token', { token: { param: true } })
  }
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, port: (app.server.address() as AddressInfo).port, seen }
}
