/*
 * What a handshake leads to, after DESIGN 1.1, 1.2, 1.4, 2, 3 and 5: slow and plain, with nothing of the library in it.
 * A handshake is described as it is sent; what its tokens and tickets are is known to those who made them.
 */
import { createHmac } from 'node:crypto'

export type Source = 'header' | 'subprotocol' | 'query' | 'cookie' | 'param' | 'message' | 'ticket'
export type CloseName = 'unauthorized' | 'forbidden' | 'timeout' | 'limit' | 'unavailable'
export type OriginRule = 'same-host' | 'any' | 'list' | 'function-list' | 'function-truthy' | 'function-throws'
export type RejectRule = 'http' | 'close' | 'auto'

/** The `token` option as it is given. */
export interface TokenRule {
  readonly header?: boolean | string
  readonly subprotocol?: boolean | string
  readonly query?: boolean | string
  readonly cookie?: boolean | string | { readonly name: string, readonly signed?: boolean }
  readonly param?: boolean | string
  readonly message?: boolean | { readonly timeout?: number, readonly maxBytes?: number }
}

export interface RouteRule {
  readonly path: string
  readonly kind: 'websocket' | 'plain' | 'unprotected' | 'nowhere'
  readonly access: 'required' | 'optional' | 'public'
  readonly roles?: readonly string[]
  readonly scopes?: readonly string[]
  readonly authorize?: 'yes' | 'async yes' | 'no' | 'truthy' | 'throws'
  readonly token?: TokenRule
  readonly origin?: OriginRule
  readonly rejectWith?: RejectRule
  readonly closeCodes?: Partial<Record<CloseName, number>>
  readonly requireTicket?: boolean
  /** Whether its scope has a validator that finds nothing wrong with anything. */
  readonly hasOwnValidator?: boolean
}

export interface AppRule {
  readonly verifier: 'static' | 'function' | 'registered' | 'custom'
  /** A hook assigns `request.headers` anew. */
  readonly assignsHeaders: boolean
  readonly tokenCache: boolean
  readonly issuer: string | null
  readonly audience: string | null
  /** In seconds. */
  readonly maxAge: number | null
  /** In seconds. */
  readonly tolerance: number
  readonly token: TokenRule
  /** The cookie of @fastify/jwt, of which `token.cookie` is by default. */
  readonly jwtCookie: { readonly name: string, readonly signed: boolean } | null
  readonly origin: OriginRule
  readonly rejectWith: RejectRule
  readonly closeCodes: Partial<Record<CloseName, number>>
  readonly tickets: { readonly query: string, readonly require: boolean } | null
  /** Whether a schema asks for the tenant `acme`. */
  readonly hasSchema: boolean
  /** `formatted` is by `formatUser` of @fastify/jwt. */
  readonly user: 'claims' | 'mapped' | 'fussy' | 'formatted'
  /** Whether `trusted` of @fastify/jwt is asked, which distrusts some. */
  readonly distrusts: boolean
  /** Whether the verifier of @fastify/jwt has a cache of its own. */
  readonly hasVerifierCache: boolean
  readonly perUser: 'reject' | 'close-oldest' | null
  readonly maxTokenBytes: number
  readonly trustProxy: boolean
  /** Whether the app chooses protocols itself: `chat`, else `beta`, else none. */
  readonly handleProtocols: boolean
  readonly routes: readonly RouteRule[]
}

/** What a token is: known to whoever made it. */
export type TokenFact =
  | { readonly kind: 'jwt', readonly isGenuine: boolean, readonly payload: string, readonly crit?: unknown, readonly key?: 'down' | 'refused' }
  | { readonly kind: 'opaque', readonly answer: OpaqueAnswer }

/** What the app's own `verify` says of an opaque token. */
export type OpaqueAnswer =
  | { readonly claims: unknown, readonly isLate: boolean }
  | { readonly throws: string, readonly isLate: boolean }

export interface TicketFact {
  readonly claims: Record<string, unknown>
  readonly path?: string
  readonly origin?: string
  readonly state: 'fresh' | 'spent' | 'revoked' | 'expired' | 'unknown'
}

/** The message that is sent first where one is awaited. */
export interface FirstMessage {
  readonly text: string
  readonly isBinary: boolean
  /** Whether it is sent in one write with the handshake. */
  readonly isEarly: boolean
}

/** A handshake as it is sent. */
export interface Sent {
  readonly way: 'raw' | 'inject'
  readonly method: string
  readonly version: string
  /** Path and query as they stand in the request line. */
  readonly url: string
  readonly headers: ReadonlyArray<readonly [name: string, value: string]>
  readonly message: FirstMessage | null
}

export interface World {
  readonly app: AppRule
  readonly route: RouteRule
  readonly tokens: ReadonlyMap<string, TokenFact>
  readonly tickets: ReadonlyMap<string, TicketFact>
  /** In seconds since the epoch. */
  readonly now: number
}

export interface Outcome {
  /** The code of the refusal, or `accepted`, or `dry run accepted`. */
  readonly verdict: string
  readonly status: number
  /** What the body says. */
  readonly code: string | null
  readonly challenge: string | null
  /** Whether `Sec-WebSocket-Version: 13` is answered. */
  readonly saysVersion: boolean
  readonly protocol: string | null
  readonly close: { readonly code: number, readonly reason: string } | null
  readonly source: Source | null
  /** `undefined` where no handler ran. */
  readonly user: unknown
  readonly spent: boolean
}

/** DESIGN 3.4. */
const TABLE: Record<string, { status: number, close: CloseName | null, reason: string, error: string | null }> = {
  WS_AUTH_TOKEN_MISSING: { status: 401, close: 'unauthorized', reason: 'token_missing', error: null },
  WS_AUTH_TOKEN_INVALID: { status: 401, close: 'unauthorized', reason: 'token_invalid', error: 'invalid_token' },
  WS_AUTH_TOKEN_EXPIRED: { status: 401, close: 'unauthorized', reason: 'token_expired', error: 'invalid_token' },
  WS_AUTH_TOKEN_REVOKED: { status: 401, close: 'unauthorized', reason: 'token_revoked', error: 'invalid_token' },
  WS_AUTH_TOKEN_AMBIGUOUS: { status: 400, close: 'unauthorized', reason: 'token_ambiguous', error: 'invalid_request' },
  WS_AUTH_TICKET_INVALID: { status: 401, close: 'unauthorized', reason: 'ticket_invalid', error: 'invalid_token' },
  WS_AUTH_FORBIDDEN: { status: 403, close: 'forbidden', reason: 'forbidden', error: 'insufficient_scope' },
  WS_AUTH_ORIGIN_FORBIDDEN: { status: 403, close: 'forbidden', reason: 'origin_forbidden', error: null },
  WS_AUTH_TIMEOUT: { status: 408, close: 'timeout', reason: 'auth_timeout', error: null },
  WS_AUTH_LIMIT: { status: 429, close: 'limit', reason: 'connection_limit', error: null },
  WS_AUTH_UNAVAILABLE: { status: 503, close: 'unavailable', reason: 'auth_unavailable', error: null },
  WS_AUTH_HANDSHAKE_INVALID: { status: 400, close: null, reason: '', error: null },
  WS_AUTH_ROUTE_NOT_WEBSOCKET: { status: 404, close: null, reason: '', error: null },
  WS_AUTH_ROUTE_UNPROTECTED: { status: 500, close: null, reason: '', error: null }
}

/** Every code that a handshake can be refused with. */
export const CODES: readonly string[] = Object.keys(TABLE)

const CLOSE_CODES: Record<CloseName, number> = { unauthorized: 3000, forbidden: 3003, timeout: 3008, limit: 4429, unavailable: 4503 }

/** The origins of all lists. */
export const LISTED = ['https://listed.example', 'capacitor://localhost']
export const COOKIE_SECRET = 'cookie secret of at least 32 bytes!!'
/** Whoever has this `sub` has a connection already, where connections are limited to one. */
export const FULL = 'full'
/** What is revoked everywhere. The number is matched by its digits. */
export const REVOKED = { jti: ['gone', '77'], sid: ['left'], sub: ['banned'] } as const

class Refused extends Error {
  /** @param isBare whether the request had nothing to authenticate by (RFC 6750, 3.1) */
  constructor (readonly code: string, readonly isBare = code === 'WS_AUTH_TOKEN_MISSING') { super(code) }
}

interface Names {
  readonly header: string | null
  readonly isBearer: boolean
  readonly subprotocol: string | null
  readonly query: string | null
  readonly cookie: { readonly name: string, readonly signed: boolean } | null
  readonly param: string | null
  readonly message: { readonly maxBytes: number } | null
}

/** DESIGN 1.1, `token`: defaults, over them the plugin's, over them the route's. */
export function namesOf (app: AppRule, route: RouteRule): Names {
  const given: TokenRule = { header: true, subprotocol: true, query: true, cookie: true, param: false, message: false, ...app.token, ...route.token }
  const named = (value: boolean | string | undefined, standard: string): string | null => typeof value === 'string' ? value : value === true ? standard : null
  const { cookie = true } = given
  const ownCookie = app.jwtCookie ?? { name: 'token', signed: false }
  return {
    header: named(given.header, 'authorization'),
    isBearer: given.header === true,
    subprotocol: named(given.subprotocol, 'bearer'),
    query: named(given.query, 'token'),
    cookie: cookie === false ? null : cookie === true ? ownCookie : typeof cookie === 'string' ? { name: cookie, signed: false } : { name: cookie.name, signed: cookie.signed === true },
    param: named(given.param, 'token'),
    message: given.message === false || given.message === undefined ? null : { maxBytes: given.message === true ? 8192 : given.message.maxBytes ?? 8192 }
  }
}

/** All markers that any route of the app has: their tokens are never echoed. */
function markersOf (app: AppRule): string[] {
  return app.routes.filter(({ kind }) => kind === 'websocket').flatMap((route) => namesOf(app, route).subprotocol ?? [])
}

function valuesOf (sent: Sent, name: string): string[] {
  return sent.headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value.trim())
}

function valueOf (sent: Sent, name: string): string | null {
  const values = valuesOf(sent, name)
  return values.length === 0 ? null : values.join(', ')
}

/** What is left of a list header: its entries. */
function entriesOf (list: string): string[] {
  return list.split(',').map((entry) => entry.trim())
}

/** An upgrade, or a plain request and so a dry run (DESIGN 1.4, 2.2). */
function isUpgrade (sent: Sent): boolean {
  if (sent.way === 'inject') return true
  const options = entriesOf(valueOf(sent, 'connection') ?? '').map((option) => option.toLowerCase())
  return options.includes('upgrade') && valueOf(sent, 'upgrade')?.toLowerCase() === 'websocket'
}

/** RFC 6455, 4.2.1. */
function assertHandshake (sent: Sent, protocols: Protocols): void {
  const key = valueOf(sent, 'sec-websocket-key')
  const isValid = sent.method === 'GET' && sent.version === '1.1' && valuesOf(sent, 'host').length === 1 &&
    valueOf(sent, 'sec-websocket-version') === '13' && key !== null && /^[+/0-9A-Za-z]{22}==$/.test(key) &&
    (valueOf(sent, 'content-length') ?? '0') === '0' && valueOf(sent, 'transfer-encoding') === null
  if (sent.way === 'raw' && !isValid) throw new Refused('WS_AUTH_HANDSHAKE_INVALID')
  if (!protocols.isValid) throw new Refused('WS_AUTH_HANDSHAKE_INVALID')
}

interface Protocols {
  readonly isValid: boolean
  /** Tokens by their markers. */
  readonly tokens: ReadonlyArray<{ readonly marker: string, readonly token: string }>
  readonly rest: readonly string[]
}

/** DESIGN 3.1, the second source. */
function readProtocols (sent: Sent, markers: readonly string[]): Protocols {
  const header = valueOf(sent, 'sec-websocket-protocol')
  if (header === null) return { isValid: true, tokens: [], rest: [] }
  const entries = entriesOf(header)
  const tokens: Array<{ marker: string, token: string }> = []
  const rest: string[] = []
  entries.forEach((entry, i) => {
    const before = entries[i - 1] ?? ''
    const encoded = /^base64url\.([^.]+)\.(.+)$/.exec(entry)
    const marker = encoded?.[1] ?? ''
    if (encoded !== null && markers.includes(marker)) tokens.push({ marker, token: Buffer.from(encoded[2] ?? '', 'base64url').toString() })
    else if (markers.includes(before)) tokens.push({ marker: before, token: entry })
    else rest.push(entry)
  })
  const areTokens = entries.every((entry) => /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(entry)) && new Set(entries).size === entries.length
  return { isValid: areTokens && rest.length > 0, tokens, rest }
}

/** DESIGN 3.1: which subprotocol is answered. */
function chooseProtocol (app: AppRule, { rest }: Protocols): string | null {
  if (rest.length === 0) return null
  if (app.handleProtocols) {
    const own = ['chat', 'beta'].find((name) => rest.includes(name))
    if (own !== undefined) return own
  }
  const ours = [...markersOf(app), 'ws-auth']
  return rest.find((entry) => !ours.includes(entry)) ?? rest[0] ?? null
}

/** A name or a value of a form (WHATWG URL, 5.1); as it is where it is none. */
function formText (text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return text
  }
}

function readQuery (url: string, wanted: string): string[] {
  const [, ...query] = url.split('?')
  return query.join('?').split('&').flatMap((pair) => {
    const [name = '', ...value] = pair.split('=')
    return formText(name) === wanted ? [formText(value.join('='))] : []
  })
}

function readCookies (sent: Sent, wanted: string): string[] {
  return valuesOf(sent, 'cookie').join('; ').split(';').flatMap((pair) => {
    const [name = '', ...value] = pair.split('=')
    return name.trim() === wanted ? [decodeURIComponent(value.join('=').trim())] : []
  })
}

function readParam (url: string, path: string, name: string | null): string[] {
  const index = path.split('/').indexOf(`:${name}`)
  return index < 0 ? [] : [formText((url.split('?')[0] ?? '').split('/')[index] ?? '')]
}

interface Found {
  readonly source: Source
  readonly token: string
}

interface Credentials {
  readonly found: Found | null
  readonly ticket: string | null
}

/** RFC 6750, 2.1. */
function bearerOf (value: string): string | null {
  return /^bearer(?:[ \t]|$)/i.test(value) ? value.slice(6).trim() : null
}

/** DESIGN 3.1: where tokens are, and that there is one. */
function readCredentials (world: World, sent: Sent, protocols: Protocols, requiresTicket: boolean): Credentials {
  const { app, route } = world
  const names = namesOf(app, route)
  const headers: string[][] = []
  if (names.header !== null && !names.isBearer) headers.push(valuesOf(sent, names.header))
  if (names.isBearer || !isUpgrade(sent)) {
    const values = valuesOf(sent, 'authorization')
    headers.push(values.length > 1 ? values : values.flatMap((value) => bearerOf(value) ?? []))
  }
  const explicit: Array<[Source, string[]]> = [
    ...headers.map((values): [Source, string[]] => ['header', values]),
    ['subprotocol', protocols.tokens.filter(({ marker }) => marker === names.subprotocol).map(({ token }) => token)],
    ['query', names.query === null ? [] : readQuery(sent.url, names.query)],
    ['param', readParam(sent.url, route.path, names.param)]
  ]
  const tickets = app.tickets === null ? [] : readQuery(sent.url, app.tickets.query)
  if (tickets.length > 1 || explicit.some(([, values]) => values.length > 1)) throw new Refused('WS_AUTH_TOKEN_AMBIGUOUS')
  const given = explicit.filter(([, [value = '']]) => value !== '').map(([source, [token = '']]): Found => ({ source, token }))
  const ticket = tickets[0] === undefined || tickets[0] === '' ? null : tickets[0]
  if (given.length > 1 || (given.length > 0 && ticket !== null && !requiresTicket)) throw new Refused('WS_AUTH_TOKEN_AMBIGUOUS')
  const [found] = given
  if (found !== undefined) return { found, ticket }
  if (ticket !== null && !requiresTicket) return { found: null, ticket }
  return { found: readAmbient(names, sent), ticket }
}

/** A cookie counts where nothing else does. */
function readAmbient ({ cookie }: Names, sent: Sent): Found | null {
  const values = cookie === null ? [] : readCookies(sent, cookie.name)
  if (values.length > 1) throw new Refused('WS_AUTH_TOKEN_AMBIGUOUS')
  const [value = ''] = values
  if (cookie === null || value === '') return null
  const token = cookie.signed ? unsign(value) : value
  // A cookie that is not signed is none of the app's: it is refused where it is read.
  if (token === null) throw new Refused('WS_AUTH_TOKEN_INVALID')
  return { source: 'cookie', token }
}

/** The value of a signed cookie, or `null` where the signature is wrong. */
function unsign (value: string): string | null {
  const end = value.lastIndexOf('.')
  const text = value.slice(0, Math.max(end, 0))
  return signCookie(text) === value ? text : null
}

export function signCookie (text: string): string {
  return `${text}.${createHmac('sha256', COOKIE_SECRET).update(text).digest('base64').replace(/=+$/, '')}`
}

/** DESIGN 3.3. */
function assertOrigin ({ app, route }: World, sent: Sent, isAmbient: boolean): void {
  const rule = route.origin ?? app.origin
  const origin = valueOf(sent, 'origin')
  if (origin === null || rule === 'any') return
  if (rule === 'same-host' && !isAmbient) return
  if (rule === 'function-throws') throw new Refused('WS_AUTH_UNAVAILABLE')
  if (rule === 'same-host' ? isSameHost(app, sent, origin) : rule !== 'function-truthy' && LISTED.includes(origin)) return
  throw new Refused('WS_AUTH_ORIGIN_FORBIDDEN')
}

function isSameHost ({ trustProxy }: AppRule, sent: Sent, origin: string): boolean {
  const forwarded = (name: string): string | null => trustProxy ? valueOf(sent, `x-forwarded-${name}`) : null
  const host = (forwarded('host') ?? valueOf(sent, 'host') ?? '').toLowerCase()
  const [, scheme = '', name = '', port] = /^(https?):\/\/([a-z0-9.-]+)(?::(\d+))?$/.exec(origin) ?? []
  if (scheme === '' || (forwarded('proto') === 'https' && scheme !== 'https')) return false
  const standard = scheme === 'https' ? '443' : '80'
  return `${name}:${port ?? standard}` === (host.includes(':') ? host : `${host}:${standard}`)
}

type Claims = Record<string, unknown>

function isObject (value: unknown): value is Claims {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** DESIGN 3.2: the claims of a token. */
function verify (world: World, token: string): Claims {
  const invalid = new Refused('WS_AUTH_TOKEN_INVALID')
  if (Buffer.byteLength(token) > world.app.maxTokenBytes) throw invalid
  const fact = world.tokens.get(token)
  if (fact === undefined || (fact.kind === 'opaque') !== (world.app.verifier === 'custom')) throw invalid
  if (fact.kind === 'opaque') {
    if (!/^[\x21-\x7e]*$/.test(token)) throw invalid
    if ('throws' in fact.answer) throw new Refused(codeOfThrown(fact.answer.throws))
    if (!isObject(fact.answer.claims)) throw invalid
    return assertClaims(world, fact.answer.claims)
  }
  if (fact.key === 'down') throw new Refused('WS_AUTH_UNAVAILABLE')
  if (!fact.isGenuine || fact.key === 'refused' || fact.crit !== undefined) throw invalid
  const claims: unknown = JSON.parse(fact.payload)
  if (!isObject(claims)) throw invalid
  if (world.app.distrusts && claims.level === 'distrusted') throw invalid
  const { issuer, audience, maxAge } = world.app
  if (issuer !== null && claims.iss !== issuer) throw invalid
  if (audience !== null && claims.aud !== audience && !(Array.isArray(claims.aud) && claims.aud.includes(audience))) throw invalid
  if (maxAge !== null && claims.iat === undefined) throw invalid
  return assertClaims(world, claims)
}

/** DESIGN 1.1, `verify`: what becomes of what it throws. */
function codeOfThrown (thrown: string): string {
  if (thrown.startsWith('WS_AUTH_')) return thrown
  if (thrown === '401') return 'WS_AUTH_TOKEN_INVALID'
  return thrown === '403' ? 'WS_AUTH_FORBIDDEN' : 'WS_AUTH_UNAVAILABLE'
}

function assertClaims ({ app, now }: World, claims: Claims): Claims {
  const invalid = new Refused('WS_AUTH_TOKEN_INVALID')
  const { exp, nbf, iat, sub, jti, sid } = claims
  for (const time of [exp, nbf, iat]) if (time !== undefined && !Number.isFinite(time)) throw invalid
  for (const id of [jti, sid]) {
    if (id !== undefined && id !== null && typeof id !== 'string' && (!Number.isSafeInteger(id) || Object.is(id, -0))) throw invalid
  }
  if (sub !== undefined && typeof sub !== 'string') throw invalid
  if (typeof nbf === 'number' && nbf > now + app.tolerance) throw invalid
  if (typeof iat === 'number' && iat > now + Math.max(60, app.tolerance)) throw invalid
  if (typeof exp === 'number' && exp <= now - app.tolerance) throw new Refused('WS_AUTH_TOKEN_EXPIRED')
  if (app.maxAge !== null && typeof iat === 'number' && iat + app.maxAge <= now - app.tolerance) throw new Refused('WS_AUTH_TOKEN_EXPIRED')
  return claims
}

/** A `sub` is revoked until the second in which it was: a token of the future (and the clocks' tolerance) is not. */
function isRevoked ({ now }: World, claims: Claims): boolean {
  const has = (list: readonly string[], value: unknown): boolean => value !== undefined && value !== null && list.includes(String(value))
  return has(REVOKED.jti, claims.jti) || has(REVOKED.sid, claims.sid) || (has(REVOKED.sub, claims.sub) && !(typeof claims.iat === 'number' && claims.iat > now + 60))
}

function assertSchema ({ app }: World, claims: Claims): void {
  if (app.hasSchema && claims.tenant !== 'acme') throw new Refused('WS_AUTH_TOKEN_INVALID')
}

/** What `user` makes of claims: as the apps of the test do. */
export function userOf ({ user }: AppRule, claims: Claims): unknown {
  if (user === 'mapped') return { name: claims.sub ?? null, by: 'user' }
  if (user === 'formatted') return { name: claims.sub ?? null, by: 'formatUser' }
  if (user === 'fussy' && claims.level === 'nobody') return null
  if (user === 'fussy' && claims.level === 'boom') throw new Error('the directory is down')
  return claims
}

function readUser (app: AppRule, claims: Claims): unknown {
  let user: unknown
  try {
    user = userOf(app, claims)
  } catch {
    throw new Refused('WS_AUTH_UNAVAILABLE')
  }
  if (user === null || user === undefined) throw new Refused('WS_AUTH_TOKEN_INVALID')
  return user
}

function rolesOf (claims: Claims): unknown[] {
  return [claims.roles ?? claims.role ?? []].flat()
}

function scopesOf (claims: Claims): unknown[] {
  const given = claims.scope ?? claims.scp ?? claims.permissions ?? []
  return typeof given === 'string' ? given.split(' ') : [given].flat()
}

/** DESIGN 1.2. */
function authorize ({ route }: World, claims: Claims): void {
  const { roles, scopes, authorize } = route
  if (roles !== undefined && !roles.some((role) => rolesOf(claims).includes(role))) throw new Refused('WS_AUTH_FORBIDDEN')
  if (scopes !== undefined && !scopes.every((scope) => scopesOf(claims).includes(scope))) throw new Refused('WS_AUTH_FORBIDDEN')
  if (authorize === 'throws') throw new Refused('WS_AUTH_UNAVAILABLE')
  if (authorize === 'no' || authorize === 'truthy') throw new Refused('WS_AUTH_FORBIDDEN')
}

/** From verified claims, and those of the ticket that is needed beside them, to the user: claims, revoked, authorize, limits. */
function admit (world: World, claims: Claims, behind: Claims | null): unknown {
  assertSchema(world, claims)
  if (behind !== null && behind.sub !== claims.sub) throw new Refused('WS_AUTH_TOKEN_INVALID')
  if (isRevoked(world, claims) || (behind !== null && isRevoked(world, behind))) throw new Refused('WS_AUTH_TOKEN_REVOKED')
  const user = readUser(world.app, claims)
  authorize(world, claims)
  if (world.app.perUser === 'reject' && claims.sub === FULL) throw new Refused('WS_AUTH_LIMIT')
  return user
}

/** DESIGN 5: what a ticket admits. */
function readTicket (world: World, ticket: string, sent: Sent): Claims {
  const fact = world.tickets.get(ticket)
  const path = sent.url.split('?')[0]
  if (fact === undefined || fact.state === 'unknown' || fact.state === 'spent') throw new Refused('WS_AUTH_TICKET_INVALID')
  if (fact.path !== undefined && fact.path !== path) throw new Refused('WS_AUTH_TICKET_INVALID')
  if (fact.origin !== undefined && fact.origin !== valueOf(sent, 'origin')) throw new Refused('WS_AUTH_TICKET_INVALID')
  if (fact.state === 'expired') throw new Refused('WS_AUTH_TOKEN_EXPIRED')
  return fact.claims
}

/** DESIGN 4.3 and 4.5: the token of a first message. */
function readMessage ({ maxBytes }: { maxBytes: number }, message: FirstMessage | null): string {
  if (message === null) throw new Refused('WS_AUTH_TIMEOUT')
  if (Buffer.byteLength(message.text) > maxBytes) throw new Refused('1009')
  if (message.isBinary) throw new Refused('WS_AUTH_TOKEN_INVALID')
  let frame: unknown = null
  try {
    frame = JSON.parse(message.text)
  } catch {}
  if (!isObject(frame) || frame.type !== 'auth' || typeof frame.token !== 'string' || frame.token === '') throw new Refused('WS_AUTH_TOKEN_INVALID')
  return frame.token
}

/** What a handshake leads to. */
export function expectedOf (world: World, sent: Sent): Outcome {
  const { app, route } = world
  const isDryRun = !isUpgrade(sent)
  const protocols = readProtocols(sent, markersOf(app))
  const protocol = isDryRun ? null : chooseProtocol(app, protocols)
  let spent = false
  let isOpen = false
  const nothing = { code: null, challenge: null, saysVersion: false, protocol: null, close: null, source: null, user: undefined }

  const accepted = (source: Source | null, user: unknown): Outcome => isDryRun
    ? { ...nothing, verdict: 'dry run accepted', status: 426, spent }
    : { ...nothing, verdict: 'accepted', status: 101, protocol, source, user, spent }

  const refused = ({ code, isBare }: Refused): Outcome => {
    if (code === '1009') return { ...nothing, verdict: code, status: 101, protocol, close: { code: 1009, reason: '' }, spent }
    const row = TABLE[code]
    if (row === undefined) throw new Error(`no such code: ${code}`)
    const rule = route.rejectWith ?? app.rejectWith
    const isClosed = isOpen || (!isDryRun && row.close !== null && (rule === 'close' || (rule === 'auto' && valueOf(sent, 'origin') !== null)))
    if (isClosed && row.close !== null) {
      const closeCode = { ...CLOSE_CODES, ...app.closeCodes, ...route.closeCodes }[row.close]
      return { ...nothing, verdict: code, status: 101, protocol, close: { code: closeCode, reason: row.reason }, spent }
    }
    const saysVersion = code === 'WS_AUTH_HANDSHAKE_INVALID' && valueOf(sent, 'sec-websocket-version') !== '13'
    return { ...nothing, verdict: code, status: row.status, code, challenge: isBare ? 'Bearer realm="websocket"' : challengeOf(code, route), saysVersion, spent }
  }

  try {
    if (!isDryRun && route.kind === 'unprotected') throw new Refused('WS_AUTH_ROUTE_UNPROTECTED')
    // Where there is no route at all, the answer is Fastify's own.
    if (!isDryRun && (route.kind === 'nowhere' || sent.method !== 'GET')) return { ...nothing, verdict: 'no route', status: 404, spent }
    if (!isDryRun && route.kind !== 'websocket') throw new Refused('WS_AUTH_ROUTE_NOT_WEBSOCKET')
    if (!isDryRun) assertHandshake(sent, protocols)
    if (route.access === 'public') return accepted(null, null)
    const names = namesOf(app, route)
    const requiresTicket = app.tickets !== null && (route.requireTicket ?? app.tickets.require)
    const { found, ticket } = readCredentials(world, sent, protocols, requiresTicket)
    const hasTicket = ticket !== null
    const isAnonymous = route.access === 'optional' && found === null && (!hasTicket || requiresTicket)
    const waits = !isAnonymous && found === null && (!hasTicket || requiresTicket) && names.message !== null
    assertOrigin(world, sent, found?.source === 'cookie' || waits)
    if (isAnonymous) return accepted(null, null)
    if (requiresTicket && !hasTicket) throw new Refused('WS_AUTH_TICKET_INVALID', found === null)
    // Nothing is spent for a handshake of nobody.
    if (requiresTicket && found === null && names.message === null) throw new Refused('WS_AUTH_TOKEN_MISSING')
    let behind: Claims | null = null
    if (ticket !== null) {
      spent = !isDryRun && isSpendable(world.tickets.get(ticket))
      behind = readTicket(world, ticket, sent)
    }
    if (behind !== null && !requiresTicket) {
      // Whoever issues a ticket does not know the `formatUser` of an @fastify/jwt that the app has registered itself.
      const isFormatted = app.user !== 'formatted' || app.verifier !== 'registered'
      return accepted('ticket', admit(isFormatted ? world : { ...world, app: { ...app, user: 'claims' } }, behind, null))
    }
    if (found !== null) return accepted(found.source, admit(world, verify(world, found.token), behind))
    if (names.message === null) throw new Refused('WS_AUTH_TOKEN_MISSING')
    // Nobody waits by a ticket that is good for nothing.
    if (behind !== null && isRevoked(world, behind)) throw new Refused('WS_AUTH_TOKEN_REVOKED')
    if (isDryRun) return accepted(null, null)
    isOpen = true
    return accepted('message', admit(world, verify(world, readMessage(names.message, sent.message)), behind))
  } catch (error) {
    if (error instanceof Refused) return refused(error)
    throw error
  }
}

function isSpendable (fact: TicketFact | undefined): boolean {
  return fact !== undefined && fact.state !== 'unknown' && fact.state !== 'spent'
}

/** Whether nothing is left in the URL that a handler sees: no token or ticket by its name, and no JWT by any (DESIGN 2.1, 3.1). */
export function isClean (app: AppRule, url: string): boolean {
  const names = [app.tickets?.query, ...app.routes.map((route) => namesOf(app, route).query)]
  const [path = '', ...query] = url.split('?')
  const looksLikeJwt = (text: string): boolean => /^(?:Bearer )?eyJ[-\w]+\.[-\w]+\.[-\w]+$/.test(text)
  return !path.split('/').some(looksLikeJwt) && query.join('?').split('&').every((pair) => {
    const [name = '', ...value] = pair.split('=')
    return !names.includes(formText(name)) && !looksLikeJwt(formText(value.join('=')))
  })
}

/** RFC 6750, 3. */
function challengeOf (code: string, { scopes }: RouteRule): string | null {
  const error = TABLE[code]?.error ?? null
  if (error === null) return null
  const scope = code === 'WS_AUTH_FORBIDDEN' && scopes !== undefined ? `, scope="${scopes.join(' ')}"` : ''
  return `Bearer error="${error}"${scope}`
}
