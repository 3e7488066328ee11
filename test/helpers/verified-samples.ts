/*
 * Draws for the property that claims come from what was verified: for every way to verify, every place of a token, every purpose, and every way in which
 * an app changes the headers of a request before. Two tokens are sent at once, one where this package reads it and one
 * elsewhere. Whoever is admitted is whom the verified token names, and a forged token admits nobody.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import type { Test } from 'tap'
import { sign } from './app'
import { holdsAsync } from './arbitraries'
import { onDecision } from './decisions'
import { forge, forgeWithSignatureOf, oddBearer, secondsFromNow } from './forged'
import type { Claims, HeaderSchema } from './forged'
import { segment } from './hostile-tokens'
import { clientFrame, plainText, RawClient, requestText } from './raw-client'
import type { RequestSettings } from './raw-client'
import { CHANGES, ISSUER, LOGOUT_PATH, MOMENTS, SETTINGS, startVerified, VERIFIERS } from './verified-app'
import type { Change, Moment, Setting, VerifiedApp } from './verified-app'

const TEXT = 1
const CLOSE = 8
const LOGOUT_EVENT = { 'http://schemas.openid.net/event/backchannel-logout': {} }

const EXP = secondsFromNow(3000)
const MALLORY = { sub: 'mallory', roles: ['member'], exp: EXP }
const ALICE = { sub: 'alice', roles: ['admin'], exp: EXP, jti: 'a' }
const RENEWED = { ...MALLORY, exp: EXP + 600, n: 1 }

interface Token {
  readonly text: string
  /** Of a token that a key has signed. */
  readonly claims: Claims | null
  /** Whose signature a forged one has. */
  readonly signatureOf?: Claims
}

const mallory = sign(MALLORY)
const TOKENS: Record<string, Token> = {
  mallory: { text: mallory, claims: MALLORY },
  'mallory renewed': { text: sign(RENEWED), claims: RENEWED },
  alice: { text: sign(ALICE), claims: ALICE },
  'a forged root': { text: forge(), claims: null },
  'a forged mallory': { text: forge({ sub: 'mallory' }), claims: null },
  "a root with mallory's signature": { text: forgeWithSignatureOf(mallory), claims: null, signatureOf: MALLORY },
  "an admin mallory with mallory's signature": { text: forgeWithSignatureOf(mallory, { sub: 'mallory' }), claims: null, signatureOf: MALLORY }
}
type TokenName = keyof typeof TOKENS & string

const PURPOSES = ['handshake', 'dry run', 'ticket', 'first message', 'renewal by a frame', 'connection.renew', 'logout'] as const
const PLACES = ['header', 'subprotocol', 'encoded subprotocol', 'query', 'cookie', 'param'] as const
type Place = typeof PLACES[number]
/** Where a token stands that is not the one to be read: some of these @fastify/jwt reads, or an app's `extractToken`. */
const ELSEWHERE = ['nowhere', 'odd header', 'header', 'cookie', 'x-token', 'another query parameter'] as const
type Elsewhere = typeof ELSEWHERE[number]

/** Who was admitted, `null` for nobody. */
interface Outcome {
  readonly claims: Claims | null
  readonly why: string
}

interface Sample {
  readonly verifier: keyof typeof VERIFIERS & string
  readonly setting: Setting
  readonly schema: HeaderSchema
  readonly changes: Array<[Change, Moment]>
  readonly purpose: typeof PURPOSES[number]
  readonly place: Place
  readonly token: TokenName
  readonly elsewhere: Elsewhere
  readonly other: TokenName
}

const samples = fc.record<Sample>({
  verifier: fc.constantFrom(...Object.keys(VERIFIERS)),
  setting: fc.constantFrom(...SETTINGS),
  schema: fc.constantFrom<HeaderSchema[]>('none', 'none', 'Ajv', 'TypeBox', 'Zod', 'Joi'),
  changes: fc.array(fc.tuple(fc.constantFrom(...CHANGES), fc.constantFrom(...MOMENTS)), { maxLength: 3 }),
  purpose: fc.constantFrom(...PURPOSES),
  place: fc.constantFrom(...PLACES),
  token: fc.constantFrom(...Object.keys(TOKENS)),
  elsewhere: fc.constantFrom(...ELSEWHERE),
  other: fc.constantFrom(...Object.keys(TOKENS))
})

// fast-jwt warns of a `cacheKeyBuilder` for each verifier that is built.
const { emitWarning } = process
process.emitWarning = (warning: string | Error, options?: unknown): void => {
  if ((options as { code?: string } | undefined)?.code !== 'FAST_JWT_CACHE_KEY_BUILDER_SECURITY_RISK') emitWarning.call(process, warning, options as NodeJS.EmitWarningOptions)
}

const apps = new Map<string, Promise<VerifiedApp>>()
/** The `sub` of each event of an admission. Samples are tried one after the other. */
const admitted: Array<string | null> = []

async function appOf ({ verifier, setting }: Sample): Promise<VerifiedApp> {
  const key = JSON.stringify([verifier, setting])
  const started = apps.get(key) ?? startVerified(VERIFIERS[verifier] ?? {}, setting)
  apps.set(key, started)
  return await started
}

/** A request with a token in a place. */
function carry (place: Place, schema: HeaderSchema, token: string): RequestSettings & { headers: Record<string, string> } {
  const path = `/${schema}/chat`
  switch (place) {
    case 'header': return { path, headers: { authorization: `Bearer ${token}` } }
    case 'subprotocol': return { path, headers: { 'sec-websocket-protocol': `bearer, ${token}` } }
    case 'encoded subprotocol': return { path, headers: { 'sec-websocket-protocol': `chat, base64url.bearer.${segment(token)}` } }
    case 'query': return { path: `${path}?token=${token}`, headers: {} }
    case 'cookie': return { path, headers: { cookie: `token=${token}` } }
    case 'param': return { path: `/${schema}/param/${token}`, headers: {} }
  }
}

/** The same request with another token elsewhere, where no token of ours is yet. */
function addElsewhere ({ path = '/', ...settings }: RequestSettings & { headers: Record<string, string> }, elsewhere: Elsewhere, token: string): RequestSettings & { headers: Record<string, string> } {
  const headers: Record<string, string> = { ...settings.headers }
  if (elsewhere === 'odd header') headers.authorization ??= oddBearer(token)
  if (elsewhere === 'header') headers.authorization ??= `Bearer ${token}`
  if (elsewhere === 'cookie') headers.cookie ??= `token=${token}`
  if (elsewhere === 'x-token') headers['x-token'] = token
  const query = elsewhere === 'another query parameter' ? `${path.includes('?') ? '&' : '?'}other=${token.replaceAll('.', '~')}` : ''
  return { ...settings, path: path + query, headers: { ...headers, 'x-decoy': token } }
}

/** Whether the app reads a token from what stands elsewhere, too: then it may count as one of two. */
function isReadElsewhere ({ setting: { reads }, elsewhere, purpose }: Sample): boolean {
  // In a dry run a token in the Authorization header always counts.
  return (elsewhere === 'header' && (reads.startsWith('header') || purpose === 'dry run')) || (elsewhere === 'cookie' && reads.includes('cookie'))
}

function isPlaceRead ({ place, setting: { reads }, purpose }: Sample): boolean {
  if (purpose === 'ticket' && (place === 'param' || place.includes('subprotocol'))) return place !== 'param'
  return place === 'header' ? reads.startsWith('header') : place !== 'cookie' || reads.includes('cookie')
}

/** Opens a connection, or tells how it was refused. The caller destroys the socket. */
async function connect (port: number, settings: RequestSettings): Promise<{ client: RawClient, status: number }> {
  const client = await RawClient.open({ teardown: () => {} } as unknown as Parameters<typeof RawClient.open>[0], port)
  const { status } = await client.send(requestText(settings)).response()
  return { client, status }
}

async function textOf (client: RawClient): Promise<string> {
  const { opcode, payload } = await client.frame()
  return opcode === CLOSE ? `closed ${payload.readUInt16BE(0)} ${String(payload.subarray(2))}` : String(payload)
}

/** Who the open connection is, by all that says so. */
function whoIs ({ app, seen }: VerifiedApp, id: string): Claims {
  const { user, connection } = seen.get(id) ?? {}
  assert.ok(connection?.claims, 'the handler saw no connection')
  const { claims, sub } = connection
  assert.equal(sub, claims.sub, 'sub of the connection')
  assert.equal(userClaims(user).sub, claims.sub, 'sub of request.user')
  assert.deepEqual(userClaims(user).roles, claims.roles, 'roles of request.user')
  assert.equal(connection.user, user, 'user of the connection')
  assert.ok(app.wsAuth.connections.bySub(String(sub)).some(({ id }) => id === connection.id), 'bySub finds it')
  return claims
}

function userClaims (user: unknown): Claims {
  const { isFormatted, ...claims } = user as Claims
  return claims
}

async function tryHandshake (started: VerifiedApp, settings: RequestSettings, id: string): Promise<Outcome> {
  const { client, status } = await connect(started.port, settings)
  try {
    if (status !== 101) return { claims: null, why: `status ${status}` }
    assert.match(await greeting(client), /hello/)
    return { claims: whoIs(started, id), why: 'open' }
  } finally {
    client.socket.destroy()
  }
}

async function greeting (client: RawClient): Promise<string> {
  let text = await textOf(client)
  while (text.startsWith('{"type":"auth.')) text = await textOf(client)
  return text
}

async function tryPlain (started: VerifiedApp, settings: RequestSettings, id: string, isTicket: boolean): Promise<Outcome> {
  const client = await RawClient.open({ teardown: () => {} } as unknown as Parameters<typeof RawClient.open>[0], started.port)
  try {
    const { status, body } = await client.send(plainText(settings)).response()
    if (!isTicket) return status === 426 ? { claims: userClaims(started.seen.get(id)?.user), why: 'dry run' } : { claims: null, why: `status ${status}` }
    if (status !== 200) return { claims: null, why: `status ${status}` }
    return await tryHandshake(started, { path: `/none/chat?ticket=${JSON.parse(body).ticket}`, headers: { 'x-id': id } }, id)
  } finally {
    client.socket.destroy()
  }
}

async function tryFirstMessage (started: VerifiedApp, settings: RequestSettings, id: string, token: string): Promise<Outcome> {
  const { client, status } = await connect(started.port, settings)
  try {
    if (status !== 101) return { claims: null, why: `status ${status}` }
    client.send(clientFrame(TEXT, JSON.stringify({ type: 'auth', token })))
    const answer = await greeting(client)
    return answer === 'hello' ? { claims: whoIs(started, id), why: 'open' } : { claims: null, why: answer }
  } finally {
    client.socket.destroy()
  }
}

/** The claims after a renewal; who is not renewed stays whom the first token names. */
async function tryRenewal (started: VerifiedApp, settings: RequestSettings, id: string, token: string, byFrame: boolean): Promise<Outcome> {
  const { client, status } = await connect(started.port, settings)
  try {
    assert.equal(status, 101, 'the connection to renew is open')
    assert.equal(await greeting(client), 'hello')
    assert.deepEqual(whoIs(started, id), MALLORY)
    admitted.length = 0
    let why = 'renewed'
    if (byFrame) {
      client.send(clientFrame(TEXT, JSON.stringify({ type: 'auth', token })))
      const { type, code } = JSON.parse(await textOf(client))
      if (type !== 'auth.ok') why = code
    } else {
      await started.seen.get(id)?.connection?.renew(token).catch(({ code }: { code: string }) => { why = code })
    }
    const claims = whoIs(started, id)
    if (why === 'renewed') return { claims, why }
    assert.deepEqual(claims, MALLORY, 'a refused renewal changes nothing')
    return { claims: null, why }
  } finally {
    client.socket.destroy()
  }
}

/** A logout of somebody whom no other run has: admitted is whom the logout token names. */
async function tryLogout (started: VerifiedApp, headers: Record<string, string>, { claims, signatureOf }: Token, id: string): Promise<Outcome> {
  const logout = { iss: ISSUER, aud: 'client', sub: id, iat: secondsFromNow(0), jti: id, exp: EXP, events: LOGOUT_EVENT }
  const token = claims !== null ? sign(logout) : signatureOf === undefined ? forge(logout) : forgeWithSignatureOf(mallory, logout)
  const body = new URLSearchParams({ logout_token: token }).toString()
  const client = await RawClient.open({ teardown: () => {} } as unknown as Parameters<typeof RawClient.open>[0], started.port)
  try {
    const { status } = await client.send(plainText({ method: 'POST', path: LOGOUT_PATH, headers: { ...headers, 'content-type': 'application/x-www-form-urlencoded', 'content-length': String(body.length) }, body })).response()
    const isRevoked = started.app.wsAuth.isRevoked({ sub: id, iat: logout.iat - 60 })
    assert.equal(isRevoked, status === 200, 'revoked if and only if the logout is answered with 200')
    return { claims: isRevoked ? claims ?? { sub: id } : null, why: `status ${status}` }
  } finally {
    client.socket.destroy()
  }
}

async function run (sample: Sample): Promise<Outcome> {
  const { purpose, place, schema, elsewhere, changes } = sample
  const [token, other] = [TOKENS[sample.token] as Token, TOKENS[sample.other] as Token]
  const started = await appOf(sample)
  const id = randomUUID()
  const dress = (settings: RequestSettings & { headers: Record<string, string> }): RequestSettings & { headers: Record<string, string> } => {
    const { headers, ...rest } = addElsewhere(settings, elsewhere, other.text)
    return { ...rest, headers: { ...headers, 'x-id': id, 'x-changes': JSON.stringify(changes) } }
  }
  admitted.length = 0
  switch (purpose) {
    case 'handshake': return await tryHandshake(started, dress(carry(place, schema, token.text)), id)
    case 'dry run': return await tryPlain(started, dress(carry(place, schema, token.text)), id, false)
    case 'ticket': {
      const { path = '', headers } = carry(place, schema, token.text)
      return await tryPlain(started, dress({ method: 'POST', path: `/ws-ticket${path.slice(path.search(/$|\?/))}`, headers }), id, true)
    }
    case 'first message': return await tryFirstMessage(started, dress({ path: `/${schema}/message`, headers: {} }), id, token.text)
    case 'logout': return await tryLogout(started, dress({ headers: {} }).headers, token, id)
    default: return await tryRenewal(started, dress(carry('query', schema, mallory)), id, token.text, purpose === 'renewal by a frame')
  }
}

/** Whether nothing that stands elsewhere, nor in a place that is not read, may decide. */
function isAlone (sample: Sample): boolean {
  if (sample.purpose === 'logout') return true
  const isAmbiguous = sample.elsewhere !== 'nowhere' && isReadElsewhere(sample)
  if (sample.purpose === 'handshake' || sample.purpose === 'dry run' || sample.purpose === 'ticket') return !isAmbiguous && isPlaceRead(sample)
  return !isAmbiguous
}

/** What must hold of one sample. */
async function check (sample: Sample): Promise<void> {
  const isRenewal = sample.purpose.includes('renew')
  // The connection to renew is opened by the token in the query: nothing beside it may make that ambiguous.
  if (isRenewal && isReadElsewhere(sample)) return
  const { claims: genuine, signatureOf } = TOKENS[sample.token] as Token
  const { claims, why } = await run(sample)
  const message = `${JSON.stringify(claims)} (${why})`
  // Forged tokens that are one with a genuine one for the app's own cache may be taken for it, and for nothing else.
  const key = VERIFIERS[sample.verifier]?.collides === true && sample.purpose !== 'logout' ? signatureOf : undefined
  const others = isAlone(sample) ? [] : [TOKENS[sample.other]?.claims]
  const allowed = [genuine, key, ...others].filter((claims) => claims != null)
  if (claims !== null) {
    assert.ok(allowed.some((one) => isSame(one, claims)), `admitted ${message}`)
    if (sample.purpose !== 'dry run' && sample.purpose !== 'logout') assert.ok(admitted.length > 0 && admitted.every((sub) => sub === claims.sub), `events name ${admitted.join()}, admitted is ${message}`)
  } else if (genuine !== null && isAlone(sample) && (!isRenewal || genuine.sub === 'mallory')) {
    assert.fail(`a genuine token was refused: ${why}`)
  }
}

function isSame (one: Claims, other: Claims): boolean {
  return JSON.stringify(Object.entries(one).sort()) === JSON.stringify(Object.entries(other).sort())
}

/** Tries so many samples, one after the other. */
export async function assertVerified (t: Test, runs: number): Promise<void> {
  t.teardown(async () => { for (const app of apps.values()) await (await app).app.close() })
  onDecision(t, ({ event, sub, dryRun }) => { if (!dryRun && ['accepted', 'renewed', 'ticket_issued'].includes(event)) admitted.push(sub) })
  await holdsAsync(fc.asyncProperty(samples, check), runs)
  t.ok(apps.size > 0, `${apps.size} apps were asked`)
}
