/*
 * Handshakes that a seed determines: apps with their options and routes, and what is sent to them. Each token and ticket is
 * drawn with what it is, so that nobody has to read it to know.
 */
import { createHmac } from 'node:crypto'
import { SECRET } from './app'
import { FULL, LISTED, REVOKED } from './handshake-contract'
import type { AppRule, FirstMessage, OpaqueAnswer, OriginRule, RouteRule, Sent, TicketFact, TokenFact, TokenRule, World } from './handshake-contract'
import { namesOf, signCookie } from './handshake-credentials'
import { randomFrom } from './random'

/** A die with as many sides as are wanted. */
export class Dice {
  readonly #random: () => number

  constructor (...seeds: number[]) {
    this.#random = randomFrom(seeds.reduce((mixed, seed) => Math.imul(mixed ^ seed, 0x9E3779B1) + 0x7F4A7C15, 7))
    this.#random()
  }

  chance (probability: number): boolean {
    return this.#random() < probability
  }

  pick<T> (list: readonly T[]): T {
    return list[Math.floor(this.#random() * list.length)] as T
  }

  /** One of many by their weights. */
  weighted<T> (list: ReadonlyArray<readonly [weight: number, value: T]>): T {
    let at = this.#random() * list.reduce((sum, [weight]) => sum + weight, 0)
    for (const [weight, value] of list) if ((at -= weight) < 0) return value
    return this.pick(list)[1]
  }

  /** Some of many, in their order. */
  some<T> (list: readonly T[], probability: number): T[] {
    return list.filter(() => this.chance(probability))
  }
}

export interface Scenario {
  readonly world: World
  readonly sent: Sent
}

const ISSUER = 'https://issuer.example'
const ROLES = ['member', 'admin']
const SCOPES = ['chat:read', 'chat:write']

/** Where silence is awaited for so long, in milliseconds. In those apps nobody who waits says anything. */
export const SILENCE = 300

/** An app by its number: what matters most is in turn, so that a few dozen have all of it. */
export function drawApp (seed: number, index: number): AppRule {
  const dice = new Dice(seed, index)
  const verifier = (['static', 'function', 'registered', 'custom'] as const)[index % 4] ?? 'static'
  const isJwt = verifier !== 'custom'
  const marker = dice.weighted<boolean | string>([[8, true], [1, 'jwt'], [1, false]])
  const message = index % 3 !== 0 ? false : index % 9 === 0 ? { timeout: SILENCE } : { timeout: 60_000, maxBytes: 4096 }
  const tickets = index % 2 === 0 || dice.chance(0.2) ? { query: dice.pick(['ticket', 'ticket', 't']), require: dice.chance(0.25) } : null
  const tolerance = isJwt && dice.chance(0.3) ? 600 : 0
  const token: TokenRule = {
    header: dice.weighted<boolean | string>([[6, true], [1, 'x-token'], [1, false]]),
    subprotocol: marker,
    query: dice.weighted<boolean | string>([[6, true], [1, 'access_token'], [1, false]]),
    cookie: dice.weighted<NonNullable<TokenRule['cookie']>>([[4, true], [1, 'sid'], [1, false], [2, { name: 'token', signed: true }], [1, { name: 'signed', signed: true }]]),
    ...message === false ? {} : { message }
  }
  const rule: Omit<AppRule, 'routes'> = {
    verifier,
    assignsHeaders: dice.chance(0.3),
    tokenCache: dice.chance(0.3),
    issuer: isJwt && dice.chance(0.3) ? ISSUER : null,
    audience: isJwt && dice.chance(0.3) ? 'chat' : null,
    maxAge: isJwt && dice.chance(0.25) ? 3000 : null,
    tolerance,
    token: token.cookie === true ? { ...token, cookie: undefined } : token,
    jwtCookie: isJwt && dice.chance(0.3) ? { name: 'login', signed: false } : null,
    origin: drawOrigin(dice),
    rejectWith: dice.weighted([[3, 'http'], [1, 'close'], [1, 'auto']]),
    closeCodes: dice.chance(0.2) ? { unauthorized: 4401, forbidden: 4403 } : {},
    tickets,
    hasSchema: dice.chance(0.3),
    user: dice.pick(['claims', 'mapped', 'fussy', isJwt ? 'formatted' : 'claims']),
    distrusts: isJwt && dice.chance(0.25),
    hasVerifierCache: isJwt && dice.chance(0.25),
    perUser: dice.weighted([[2, null], [2, 'reject'], [1, 'close-oldest']]),
    maxTokenBytes: dice.pick([1024, 8192]),
    trustProxy: dice.chance(0.3),
    handleProtocols: dice.chance(0.3)
  }
  const routes = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((i) => drawRoute(dice, i, rule))
  const bare = { access: 'required' } as const
  return {
    ...rule,
    routes: [...routes, { ...bare, path: '/plain', kind: 'plain' }, { ...bare, path: '/early', kind: 'unprotected' }, { ...bare, path: '/nowhere', kind: 'nowhere' }]
  }
}

function drawOrigin (dice: Dice): OriginRule {
  return dice.weighted<OriginRule>([[6, 'same-host'], [2, 'any'], [2, 'list'], [2, 'function-list'], [1, 'function-truthy'], [1, 'function-throws']])
}

function drawRoute (dice: Dice, index: number, app: Omit<AppRule, 'routes'>): RouteRule {
  const access = index === 0 ? 'required' : index === 1 ? 'optional' : index === 2 ? 'public' : 'required'
  const path = `/r${index}`
  if (index <= 2) return { path, kind: 'websocket', access }
  const hasParam = index === 3
  const token: TokenRule = {
    ...dice.chance(0.15) ? { query: dice.pick([false, true, 'key']) } : {},
    ...dice.chance(0.15) ? { header: dice.pick([false, true, 'x-own']) } : {},
    ...dice.chance(0.15) ? { subprotocol: dice.pick([false, true, 'graphql.jwt']) } : {},
    ...dice.chance(0.15) ? { cookie: dice.pick([false, 'own']) } : {},
    ...dice.chance(0.15) ? { message: false } : {},
    ...hasParam ? { param: dice.pick([true, 'key']) } : {}
  }
  return {
    path: hasParam ? `${path}/:${token.param === true ? 'token' : 'key'}` : path,
    kind: 'websocket',
    access,
    ...dice.chance(0.3) ? { roles: dice.pick([['admin'], ['member', 'admin'], ['owner']]) } : {},
    ...dice.chance(0.3) ? { scopes: dice.pick([['chat:read'], SCOPES]) } : {},
    ...dice.chance(0.3) ? { authorize: dice.pick(['yes', 'async yes', 'no', 'truthy', 'throws'] as const) } : {},
    ...Object.keys(token).length > 0 ? { token } : {},
    ...dice.chance(0.25) ? { origin: drawOrigin(dice) } : {},
    ...dice.chance(0.25) ? { rejectWith: dice.pick(['http', 'close', 'auto'] as const) } : {},
    ...dice.chance(0.15) ? { closeCodes: { unauthorized: 4001, limit: 4029 } } : {},
    ...dice.chance(0.1) ? { hasOwnValidator: true } : {},
    ...app.tickets !== null && dice.chance(0.2) ? { requireTicket: dice.chance(0.5) } : {}
  }
}

function encode (part: string | Buffer): string {
  return Buffer.from(part).toString('base64url')
}

/** A JWT of this text, signed with HS256 whatever its header says. */
export function signText (payload: string | Buffer, header: object = {}, secret = SECRET): string {
  const input = `${encode(JSON.stringify({ alg: 'HS256', typ: 'JWT', ...header }))}.${encode(payload)}`
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
}

export function opaqueText (answer: OpaqueAnswer): string {
  return `o.${encode(JSON.stringify(answer))}`
}

/** All that one scenario is drawn with. */
class Draw {
  readonly tokens = new Map<string, TokenFact>()
  readonly tickets = new Map<string, TicketFact>()

  constructor (readonly dice: Dice, readonly app: AppRule, readonly route: RouteRule, readonly now: number, readonly name: string) {}

  /** Claims that nothing is wrong with, but perhaps that the route is not for them. */
  goodClaims (): Record<string, unknown> {
    const { dice, app, now } = this
    const { maxAge, tolerance } = app
    const claims: Record<string, unknown> = {
      sub: dice.chance(0.1) ? FULL : dice.chance(0.02) ? REVOKED.sub[0] : this.name,
      iat: now - 100,
      exp: tolerance > 0 && dice.chance(0.3) ? now - 200 : now + 3600,
      tenant: 'acme'
    }
    if (app.issuer !== null) claims.iss = app.issuer
    if (app.audience !== null) claims.aud = dice.pick([app.audience, ['other', app.audience]])
    if (dice.chance(0.7)) Object.assign(claims, dice.pick([{ roles: dice.some(ROLES, 0.7) }, { role: dice.pick(ROLES) }, { roles: ['member'], role: 'admin' }, { roles: ROLES }, { roles: [], role: 'admin' }]))
    if (dice.chance(0.7)) {
      const scopes = dice.some(SCOPES, 0.7)
      Object.assign(claims, dice.pick([{ scope: scopes.join(' ') }, { scp: scopes }, { permissions: scopes }, { scope: SCOPES.join(' ') }, { scope: 'chat:read', permissions: SCOPES }]))
    }
    if (dice.chance(0.1)) claims.jti = dice.pick<unknown>(['a', 12, null, 9007199254740991])
    if (dice.chance(0.1)) claims.sid = dice.pick<unknown>(['a', 12, null])
    if (dice.chance(0.05) && maxAge === null) delete claims.iat
    if (dice.chance(0.05)) delete claims.exp
    return claims
  }

  /** What is to be laid over good claims to spoil them, in any verifier. */
  #spoiled (): Record<string, unknown> {
    const { dice, app: { maxAge, tolerance, hasSchema, user, distrusts }, now } = this
    return dice.pick<Record<string, unknown>>([
      { exp: now - 3000 }, { exp: now - 3000 }, { exp: now - 3000 }, { exp: 1 }, { nbf: now + 3600 }, { iat: now + 5000, exp: now + 9000 },
      { iat: now + 400 }, { exp: `${now + 3600}` }, { nbf: '1' }, { iat: `${now}` }, { exp: null }, { exp: true },
      { jti: 2 ** 53 }, { jti: 1.5 }, { jti: ['a'] }, { jti: true }, { sid: { a: 1 } }, { sid: 2 ** 60 }, { sub: 7 }, { sub: ['a'] },
      { jti: REVOKED.jti[0] }, { jti: Number(REVOKED.jti[1]) }, { sid: REVOKED.sid[0] }, { sub: REVOKED.sub[0] }, { jti: REVOKED.jti[0], exp: now - 3000 },
      ...hasSchema ? [{ tenant: 'evil' }, { tenant: undefined }] : [],
      ...distrusts ? [{ level: 'distrusted' }, { level: 'distrusted' }] : [],
      ...maxAge !== null ? [{ iat: undefined }, { iat: now - 6000 }, { iat: now - 6000 }] : [],
      ...user === 'fussy' ? [{ level: 'nobody' }, { level: 'boom' }, { level: 'boom' }] : [],
      ...tolerance > 0 ? [{ nbf: now + 300 }, { iat: now + 300 }] : []
    ])
  }

  /** Any token, good twice of three times. */
  token (): string {
    const { dice, app } = this
    return this.#known(dice.chance(0.66) ? this.#good() : app.verifier === 'custom' ? this.#badOpaque() : this.#badJwt())
  }

  #known ([text, fact]: [string, TokenFact | null]): string {
    if (fact !== null) this.tokens.set(text, fact)
    return text
  }

  #good (claims = this.goodClaims()): [string, TokenFact] {
    if (this.app.verifier === 'custom') return this.#opaque({ claims, isLate: this.dice.chance(0.3) })
    const payload = JSON.stringify(claims)
    return [signText(payload), { kind: 'jwt', isGenuine: true, payload }]
  }

  #opaque (answer: OpaqueAnswer): [string, TokenFact] {
    // As it will be read: what JSON does not know is not there.
    return [opaqueText(answer), { kind: 'opaque', answer: JSON.parse(JSON.stringify(answer)) }]
  }

  #badOpaque (): [string, TokenFact | null] {
    const { dice } = this
    const isLate = dice.chance(0.5)
    if (dice.chance(0.5)) return this.#good({ ...this.goodClaims(), ...this.#spoiled() })
    const thrown = ['401', '403', 'any', 'any', 'WS_AUTH_TOKEN_REVOKED', 'WS_AUTH_TOKEN_EXPIRED', 'WS_AUTH_LIMIT', 'WS_AUTH_FORBIDDEN']
    const text = opaqueText({ throws: 'any', isLate })
    return dice.pick<() => [string, TokenFact | null]>([
      () => this.#opaque({ claims: dice.pick<unknown>([null, 7, 'ann', true, ['ann']]), isLate }),
      () => this.#opaque({ throws: dice.pick(thrown), isLate }),
      () => this.#opaque({ throws: dice.pick(thrown), isLate }),
      // What no header may have is not asked about; this would throw.
      () => [`${text}${dice.pick([' ', '\r\nx-admin: 1', '\0', '☃', 'é'])}x`, null],
      () => ['abc', null],
      () => [`o.${'a'.repeat(this.app.maxTokenBytes)}`, null]
    ])()
  }

  #badJwt (): [string, TokenFact | null] {
    const { dice, app } = this
    const claims = this.goodClaims()
    const payload = JSON.stringify(claims)
    if (dice.chance(0.5)) return this.#good({ ...claims, ...this.#spoiled() })
    const forged = { kind: 'jwt', isGenuine: false, payload } as const
    const raw = (text: string): [string, TokenFact] => [signText(text), { kind: 'jwt', isGenuine: true, payload: text }]
    const good = signText(payload)
    const isFunction = app.verifier === 'function'
    return dice.pick<() => [string, TokenFact | null]>([
      () => [`${good.slice(0, good.lastIndexOf('.'))}.${'A'.repeat(43)}`, forged],
      () => [signText(payload, {}, 'another key, as long as it has to be'), forged],
      () => [signText(payload, { alg: dice.pick(['none', 'None', 'HS512', 'RS256', 'ES256']) }), forged],
      () => [`${signText(payload, { alg: 'none' }).split('.').slice(0, 2).join('.')}.`, forged],
      () => [signText(JSON.stringify({ ...claims, exp: this.now - 3000 }), {}, 'another key, as long as it has to be'), forged],
      () => [signText(payload, { crit: dice.pick<unknown>([['x'], '', [], 'x']) }), { ...forged, isGenuine: true, crit: true }],
      () => raw(dice.pick(['["ann"]', '"ann"', 'null', '7', '{}x', '']).replace('{}x', '[{}]').replace(/^$/, 'true')),
      () => raw(payload.replace(/"tenant":/, `${dice.pick(['"exp":1e400', '"jti":-0', '"sid":-0', '"jti":1234567890123456789', '"nbf":-1e400'])},"tenant":`)),
      () => [signText(Buffer.concat([Buffer.from(payload.slice(0, -1)), Buffer.from(',"x":"\xFF"}', 'latin1')])), null],
      () => [dice.pick(['abc', 'a.b.c', '..', `${good}.x`, good.slice(0, 30), 'Bearer']), null],
      () => [signText(JSON.stringify({ ...claims, long: 'a'.repeat(app.maxTokenBytes) })), { ...forged, isGenuine: true }],
      ...app.issuer === null ? [] : [() => this.#good({ ...claims, iss: dice.pick([undefined, 'https://other.example', 'https://issuer.example/']) })],
      ...app.audience === null ? [] : [() => this.#good({ ...claims, aud: dice.pick<unknown>([undefined, 'other', [], ['other']]) })],
      ...isFunction
        ? [() => this.#withKey('down'), () => this.#withKey('down'), () => this.#withKey(dice.pick(['gone', 'unknown', 'jwks', 'getjwks', 'stranger']))]
        : []
    ])()
  }

  /** A token whose header names a key for which the secret function fails. */
  #withKey (kid: string): [string, TokenFact] {
    const payload = JSON.stringify(this.goodClaims())
    return [signText(payload, { kid }), { kind: 'jwt', isGenuine: true, payload, key: kid === 'down' ? 'down' : 'refused' }]
  }

  /** Whether the path has a token in it, and so is none that a ticket could be bound to. */
  #namesParam (): boolean {
    return this.route.path.includes(':')
  }

  /** A ticket, by a name that is put in the place of it before it is known. */
  ticket (path: string, origin: string | null): string {
    const { dice, app, tickets } = this
    const claims = { iat: this.now - 100, ...this.goodClaims(), sub: this.name }
    const state = dice.weighted<TicketFact['state']>([[14, 'fresh'], [2, 'spent'], [2, 'revoked'], [app.tolerance === 0 ? 2 : 0, 'expired'], [2, 'unknown']])
    const binding = state === 'fresh' && dice.chance(0.4)
      ? dice.pick([this.#namesParam() ? {} : { path }, { path: '/other' }, { origin: origin !== null && BINDABLE.test(origin) ? origin : 'https://listed.example' }, { origin: 'https://other.example' }, { path: `${path}/` }])
      : {}
    const isSound = state === 'fresh'
    const bound = { ...claims, exp: this.now + 3600, ...isSound ? {} : { jti: state === 'revoked' ? REVOKED.jti[0] : 'a' } }
    const others = !isSound || dice.chance(0.9) ? {} : dice.pick<object>([app.hasSchema ? { tenant: 'evil' } : {}, app.user === 'fussy' ? { level: dice.pick(['nobody', 'boom']) } : {}, { sub: FULL }, { sub: 'somebody else' }])
    const text = state === 'unknown' && dice.chance(0.5) ? 'nothing' : `TICKET${tickets.size}TICKET`
    tickets.set(text, { claims: { ...bound, ...others }, state, ...binding })
    return text
  }
}

/** What `issueTicket` takes for an origin. */
const BINDABLE = /^(?:https?|capacitor):\/\/[a-z.]+[a-z](?::80\d\d)?$/
const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
const HOSTS = ['localhost', 'LocalHost', 'localhost:80', 'localhost:443', 'localhost:8080']
const ORIGINS = [
  'http://localhost', 'https://localhost', 'http://localhost:8080', 'https://localhost:8080', 'http://localhost.', 'http://LOCALHOST', 'null', 'http://localhost:8081',
  'http://evil.example', 'http://localhost.evil.example', 'https://evil.example@localhost', 'http://localhost/', 'ftp://localhost', 'https://public.example', 'http://public.example',
  ...LISTED, ...LISTED, 'https://listed.example:443', 'https://LISTED.example'
]

/** A handshake by its numbers. */
export function drawScenario (seed: number, appIndex: number, index: number, app: AppRule, now: number): Scenario {
  const dice = new Dice(seed, appIndex, index)
  const route = dice.weighted(app.routes.map((route) => [route.kind === 'websocket' ? 10 : 2, route] as const))
  const draw = new Draw(dice, app, route, now, `u${appIndex}-${index}`)
  const way = route.kind !== 'websocket' ? 'upgrade' : dice.weighted([[80, 'upgrade'], [15, 'dry run'], [5, 'inject']] as const)
  const isUpgrade = way !== 'dry run'
  const names = namesOf(app, route)
  const isSilent = typeof app.token.message === 'object' && app.token.message.timeout === SILENCE
  const headers: Array<[string, string]> = []
  const query: string[] = []
  const protocols: string[] = []
  const cookies: string[] = []
  let param = ''

  const origin = dice.chance(0.5) ? null : dice.pick(ORIGINS)
  const host = dice.pick(HOSTS)
  const anyCase = (text: string): string => dice.weighted([[6, text], [1, text.toUpperCase()], [1, text.toLowerCase()]])
  const formText = (text: string): string => dice.weighted<() => string>([
    [text.length < 2000 ? 6 : 1e6, () => encodeURIComponent(text)],
    [1, () => [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')],
    [1, () => encodeURIComponent(text).replaceAll('.', '%2E')]
  ])()
  const isPlain = (text: string): boolean => /^[\x21-\x7e]*$/.test(text)
  // What a header cannot carry goes by the query.
  const plainToken = (): string => {
    const token = draw.token()
    return isPlain(token) ? token : 'abc'
  }

  const carriers: Record<string, (token: () => string) => void> = {
    bearer: () => headers.push(['Authorization', dice.weighted<() => string>([
      [12, () => `${anyCase('Bearer')} ${plainToken()}`], [1, () => `Bearer  ${plainToken()}`], [1, () => `Bearer\t${plainToken()}`], [1, () => `bearer ${plainToken()} `],
      [1, () => 'Bearer'], [1, () => `Basic ${plainToken()}`], [1, () => `Bearer\xA0x ${plainToken()}`], [1, () => `Bearer${plainToken()}`],
      [1, () => `Bearer ${plainToken()} ${plainToken()}`], [1, () => `Token ${plainToken()}`], [1, plainToken]
    ])()]),
    header: () => headers.push([
      anyCase(names.isBearer || names.header === null ? 'x-token' : names.header),
      dice.weighted<() => string>([[9, plainToken], [1, () => ''], [1, () => `Bearer ${plainToken()}`]])()
    ]),
    query: (token) => {
      const name = dice.weighted([[9, formText(names.query ?? 'token')], [1, 'Token'], [1, 'tokens'], [1, 'token[]'], [1, 'jwt']])
      query.push(`${name}=${dice.weighted<() => string>([[12, () => formText(token())], [1, () => ''], [1, () => '%zz'], [1, () => `+${formText(token())}`]])()}`)
    },
    subprotocol: (token) => {
      const marker = names.subprotocol ?? 'bearer'
      const encoded = (): string => `base64url.${dice.weighted([[9, marker], [1, 'other']])}.${Buffer.from(token()).toString('base64url')}`
      protocols.push(...dice.weighted<() => string[]>([
        [10, () => [marker, plainToken()]], [5, () => [encoded()]], [2, () => [marker, encoded()]], [1, () => [marker]], [1, () => [marker.toUpperCase(), plainToken()]],
        [1, () => [marker, plainToken(), encoded()]], [1, () => [plainToken(), marker]], [1, () => [`base64url.${marker}`, plainToken()]], [1, () => [`base64url.${marker}.~~~`]]
      ])())
    },
    cookie: () => {
      const name = names.cookie?.name ?? 'token'
      const isSigned = names.cookie?.signed === true
      const value = (): string => {
        const token = plainToken()
        return encodeURIComponent(dice.chance(isSigned ? 0.8 : 0.05) ? dice.pick([...Array(8).fill(signCookie(token)), `${signCookie(token)}x`, `${token}.${'a'.repeat(43)}`]) : token)
      }
      cookies.push(`${dice.weighted([[12, name], [1, `x${name}`], [1, name.toUpperCase()]])}=${dice.weighted<() => string>([[12, value], [1, () => '']])()}`)
    }
  }
  const kinds = Object.keys(carriers)
  const carry = (kind: string): void => carriers[kind]?.(() => draw.token())
  const hasTicketRule = app.tickets !== null && (route.requireTicket ?? app.tickets.require)
  const count = dice.weighted([[isSilent ? 8 : 3, 0], [14, 1], [2, 2], [0.3, 3]])
  for (let i = 0; i < count; i++) carry(dice.weighted(kinds.map((kind) => [kind === 'bearer' && !names.isBearer ? 0.3 : kind === 'header' && (names.isBearer || names.header === null) ? 0.3 : 1, kind] as const)))
  if (dice.chance(0.04)) carry(dice.pick(kinds))
  if (dice.chance(0.03)) { for (const lists of [query, cookies]) lists.push(...lists.slice(0, 1)) }
  if (names.param !== null) {
    const token = draw.token()
    param = /^[\w-][\w.-]+$/.test(token) ? dice.chance(0.8) ? token : token.replaceAll('.', '%2E') : 'abc'
    // Beside a path that has one, each other token is one too many.
    if (dice.chance(0.8)) { query.length = 0; protocols.length = 0; headers.length = 0 }
  }
  const path = route.path.replace(/:\w+$/, param)
  const wantsTicket = route.kind === 'websocket' && (app.tickets === null ? 0.03 : hasTicketRule ? 0.85 : 0.2)
  if (wantsTicket !== false && dice.chance(wantsTicket)) {
    if (!hasTicketRule && dice.chance(0.85)) { query.length = 0; protocols.length = 0; headers.length = 0 }
    // What an anonymous client's ticket is good for where one is asked for beside a token is nowhere said.
    if (route.access !== 'optional' || !hasTicketRule) {
      const name = app.tickets?.query ?? 'ticket'
      query.push(`${name}=${dice.chance(0.95) ? draw.ticket(path, origin) : ''}`)
      if (dice.chance(0.02)) query.push(`${name}=${draw.ticket(path, origin)}`)
    }
  }
  if (dice.chance(0.3)) query.splice(dice.pick([0, query.length]), 0, dice.pick(['room=1', 'a', '=', 'tokenx=1', 'x=%zz']))
  for (const own of dice.some(['chat', 'alpha', 'beta', 'ws-auth'], protocols.length > 0 ? 0.35 : 0.1)) protocols.splice(dice.pick([0, protocols.length]), 0, own)
  if (isUpgrade && route.kind === 'websocket' && dice.chance(0.02)) protocols.push(...dice.pick([[''], ['a b'], ['chat', 'chat'], ['é']]))

  if (origin !== null) headers.push(['Origin', origin])
  if (origin !== null && way === 'upgrade' && dice.chance(0.03)) headers.push(['Origin', origin])
  if (cookies.length > 0) {
    const all = dice.chance(0.3) ? ['a=b', ...cookies] : cookies
    if (way === 'upgrade' && dice.chance(0.1)) headers.push(...all.map((cookie): [string, string] => ['Cookie', cookie]))
    else headers.push([anyCase('Cookie'), all.join('; ')])
  }
  if (protocols.length > 0) {
    const glue = dice.pick([', ', ',', ' , '])
    const [first = '', ...others] = protocols
    if (way === 'upgrade' && others.length > 0 && dice.chance(0.1)) headers.push(['Sec-WebSocket-Protocol', first], ['Sec-WebSocket-Protocol', others.join(glue)])
    else headers.push(['Sec-WebSocket-Protocol', protocols.join(glue)])
  }
  if (dice.chance(0.3)) headers.push(['X-Forwarded-Host', dice.pick(['public.example', 'localhost'])], ['X-Forwarded-Proto', dice.pick(['https', 'http'])])
  const url = `${path}${query.length > 0 ? `?${query.join('&')}` : ''}`
  const world = { app, route, tokens: draw.tokens, tickets: draw.tickets, now }
  if (way === 'inject') {
    const once = new Map(headers.map(([name, value]) => [name.toLowerCase(), value] as const))
    return { world, sent: { way: 'inject', method: 'GET', version: '1.1', url, headers: [...once], message: drawMessage(draw, isSilent) } }
  }
  const opening: Array<[string, string]> = [['Connection', dice.pick(['Upgrade', 'upgrade', 'keep-alive, Upgrade'])], ['Upgrade', dice.pick(['websocket', 'WebSocket'])], ['Sec-WebSocket-Version', '13'], ['Sec-WebSocket-Key', KEY]]
  const request = { way: 'raw' as const, method: 'GET', version: '1.1', url, message: isUpgrade ? drawMessage(draw, isSilent) : null }
  if (!isUpgrade) {
    const more = dice.weighted<Array<[string, string]>>([[6, []], [1, opening.slice(1)], [1, [['Connection', 'Upgrade'], ['Upgrade', 'h2c'], ...opening.slice(2)]], [1, opening.slice(2)], [1, [['Connection', 'close']]]])
    return { world, sent: { ...request, headers: [['Host', host], ...more, ...headers] } }
  }
  if (route.kind !== 'websocket' || dice.chance(0.93)) {
    const method = route.kind === 'websocket' && dice.chance(0.01) ? 'POST' : 'GET'
    return { world, sent: { ...request, method, headers: [['Host', host], ...opening, ...headers] } }
  }
  return { world, sent: spoil(dice, { ...request, headers: [['Host', host], ...opening, ...headers] }) }
}

/** A handshake with one thing wrong (RFC 6455, 4.2.1). */
function spoil (dice: Dice, sent: Sent): Sent {
  const without = (name: string, ...values: string[]): Sent => {
    return { ...sent, headers: [...sent.headers.filter(([key]) => key !== name), ...values.map((value): [string, string] => [name, value])] }
  }
  return dice.pick<() => Sent>([
    () => ({ ...sent, version: '1.0' }),
    () => without('Host'),
    () => without('Host', 'localhost', 'localhost'),
    () => without('Sec-WebSocket-Version'),
    () => without('Sec-WebSocket-Version', dice.pick(['8', '12', '14', '13.0', '013', '13, 8', ''])),
    () => without('Sec-WebSocket-Version', '13', '13'),
    () => without('Sec-WebSocket-Key'),
    () => without('Sec-WebSocket-Key', dice.pick(['', 'abc', 'dGhlIHNhbXBsZSBub25jZQ', 'dGhlIHNhbXBsZSBub25jZQA=', 'dGhlIHNhbXBsZSBub25j', 'dGhlIHNhbXBsZSBub25j-Q==', `${KEY}=`])),
    () => without('Sec-WebSocket-Key', KEY, KEY),
    () => without('Content-Length', '3'),
    () => without('Transfer-Encoding', 'chunked')
  ])()
}

function drawMessage (draw: Draw, isSilent: boolean): FirstMessage | null {
  const { dice } = draw
  if (isSilent) return null
  const frame = (more: object = {}): object => ({ type: 'auth', token: draw.token(), ...more })
  const text = dice.weighted<() => string>([
    [10, () => JSON.stringify(frame())],
    [2, () => JSON.stringify(frame()).replaceAll('":"', '": "').replaceAll(',"', ', "')],
    [1, () => JSON.stringify(frame(), null, 2)],
    [1, () => JSON.stringify({ id: 7, token: draw.token(), type: 'auth' })],
    [1, () => JSON.stringify(frame()).replace('auth', '\\u0061uth')],
    [1, () => JSON.stringify(frame({ token: dice.pick<unknown>([undefined, 7, '', null]) }))],
    [1, () => JSON.stringify(frame({ type: dice.pick(['Auth', 'auth.ok', 'hello', '']) }))],
    [1, () => dice.pick(['hello', '{"type":"auth"', '[]', 'null', '""', ''])],
    [2, () => JSON.stringify(frame({ padding: 'a'.repeat(9000) }))]
  ])()
  return { text, isBinary: dice.chance(0.05), isEarly: dice.chance(0.3) }
}
