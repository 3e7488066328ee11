/*
 * What a handshake leads to, after DESIGN 1.1, 1.2, 1.4, 2, 3 and 5: slow and plain, with nothing of the library in it.
 * A handshake is described as it is sent; what its tokens and tickets are is known to those who made them.
 */
import { CLOSE_CODES, FULL, LISTED, Refused, REVOKED, TABLE } from './handshake-contract'
import type { AppRule, FirstMessage, Outcome, RouteRule, Sent, Source, TicketFact, World } from './handshake-contract'
import { assertHandshake, chooseProtocol, formText, isUpgrade, markersOf, namesOf, readCredentials, readProtocols, valueOf } from './handshake-credentials'

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
  // `injectWS` has no socket, so Fastify trusts no proxy before it.
  const forwarded = (name: string): string | null => trustProxy && sent.way !== 'inject' ? valueOf(sent, `x-forwarded-${name}`) : null
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
  const { exp, nbf, iat, jti, sid } = claims
  for (const time of [exp, nbf, iat]) if (time !== undefined && !Number.isFinite(time)) throw invalid
  for (const id of [jti, sid]) {
    if (id !== undefined && id !== null && typeof id !== 'string' && (!Number.isSafeInteger(id) || Object.is(id, -0))) throw invalid
  }
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
export function authorize ({ route }: World, claims: Claims): void {
  const { roles, scopes, authorize } = route
  if (roles !== undefined && !roles.some((role) => rolesOf(claims).includes(role))) throw new Refused('WS_AUTH_FORBIDDEN')
  if (scopes !== undefined && !scopes.every((scope) => scopesOf(claims).includes(scope))) throw new Refused('WS_AUTH_FORBIDDEN')
  if (authorize === 'throws') throw new Refused('WS_AUTH_UNAVAILABLE')
  if (authorize === 'no' || authorize === 'truthy') throw new Refused('WS_AUTH_FORBIDDEN')
}

/** From verified claims, and those of the ticket that is needed beside them, to the user: claims, revoked, authorize, limits. */
function admit (world: World, claims: Claims, behind: Claims | null): unknown {
  assertSchema(world, claims)
  for (const { sub } of [claims, behind ?? {}]) if (sub !== undefined && typeof sub !== 'string') throw new Refused('WS_AUTH_TOKEN_INVALID')
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
