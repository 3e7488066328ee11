/*
 * The log says why each handshake was refused: what was asked, and what was near, by name. It never says by which token, cookie or
 * value: whoever reads logs is not whoever may log in.
 */
import t from 'tap'
import type { Test } from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { sign, start, until } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { clientFrame, RawClient, upgrade } from '../helpers/raw-client'
import type { RequestSettings } from '../helpers/raw-client'

const NOW = Math.floor(Date.now() / 1000)
const JWT = sign({ sub: 'ann', roles: ['member'], scope: 'chat:read', exp: NOW + 600 })
/** No JWT, and as secret as one. */
const OPAQUE = 'c2VjcmV0-opaque_value~0815'
const SECRETS = [JWT, OPAQUE, ...JWT.split('.').slice(1), Buffer.from(JWT).toString('base64url'), Buffer.from(OPAQUE).toString('base64url')]

interface Row {
  readonly plugin?: fastifyWsAuth.WsAuthOptions
  readonly wsAuth?: fastifyWsAuth.RouteWsAuth
  readonly request?: RequestSettings
  readonly status: number
  readonly code: fastifyWsAuth.WsAuthErrorCode
  /** What the reason names. */
  readonly names: readonly RegExp[]
  /** What it does not. */
  readonly not?: readonly RegExp[]
}

const missing = { status: 401, code: 'WS_AUTH_TOKEN_MISSING' } as const
const ambiguous = { status: 400, code: 'WS_AUTH_TOKEN_AMBIGUOUS' } as const
const invalid = { status: 401, code: 'WS_AUTH_TOKEN_INVALID' } as const
const forbidden = { status: 403, code: 'WS_AUTH_FORBIDDEN' } as const
const wrongOrigin = { status: 403, code: 'WS_AUTH_ORIGIN_FORBIDDEN' } as const

const bearer = { authorization: `Bearer ${JWT}` }
const protocols = (value: string): RequestSettings => ({ path: '/chat', headers: { 'sec-websocket-protocol': value } })
const headers = (given: Record<string, string | string[]>): RequestSettings => ({ path: '/chat', headers: given })

const NO_TOKEN: Record<string, Row> = {
  'nothing at all': { ...missing, request: { path: '/chat' }, names: [/authorization/i, /\btoken\b/, /bearer/, /cookie/] },
  'sources by other names': {
    ...missing,
    plugin: { token: { header: 'x-key', query: 'key', subprotocol: 'jwt', cookie: 'sid' } },
    request: { path: '/chat' },
    names: [/x-key/i, /\bkey\b/, /\bjwt\b/, /\bsid\b/],
    not: [/authorization/i]
  },
  'one source alone': {
    ...missing,
    plugin: { token: { header: false, subprotocol: false, cookie: false } },
    request: { path: '/chat' },
    names: [/query/, /\btoken\b/],
    not: [/authorization/i, /cookie/, /subprotocol/]
  },
  'the marker of the subprotocol in another case': { ...missing, request: protocols(`Bearer, ${JWT}`), names: [/subprotocol/i, /\bBearer\b/, /\bbearer\b/] },
  'the marker of the subprotocol in another case, an opaque token': { ...missing, request: protocols(`Bearer, ${OPAQUE}`), names: [/subprotocol/i, /\bBearer\b/] },
  'a subprotocol that is a JWT': { ...missing, request: protocols(JWT), names: [/subprotocol/i, /bearer/] },
  'a subprotocol that is a JWT behind another': { ...missing, request: protocols(`chat, ${JWT}`), names: [/subprotocol/i, /bearer/] },
  'a marker without a token': { ...missing, request: protocols('bearer'), names: [/subprotocol/i, /bearer/] },
  'another marker': { ...missing, request: protocols(`jwt, ${JWT}`), names: [/subprotocol/i, /bearer/] },
  'Authorization that is a JWT': { ...missing, request: headers({ authorization: JWT }), names: [/authorization/i, /bearer/i] },
  'Authorization that is an opaque token': { ...missing, request: headers({ authorization: OPAQUE }), names: [/authorization/i, /bearer/i] },
  'Authorization with another scheme': { ...missing, request: headers({ authorization: `Basic ${OPAQUE}` }), names: [/authorization/i, /scheme|Basic/] },
  'a query parameter in another case': { ...missing, request: { path: `/chat?Token=${JWT}` }, names: [/\bToken\b/, /\btoken\b/] },
  'a query parameter by another name': { ...missing, request: { path: `/chat?room=5&access_token=${JWT}` }, names: [/access_token/, /\btoken\b/] },
  'a cookie by another name': { ...missing, request: headers({ cookie: `theme=dark; session=${JWT}` }), names: [/cookie/, /\btoken\b/, /session/] },
  'a cookie in another case': { ...missing, request: headers({ cookie: `Token=${JWT}` }), names: [/cookie/, /\bToken\b/] }
}

const TWO_TOKENS: Record<string, Row> = {
  'header and subprotocol': { ...ambiguous, request: headers({ ...bearer, 'sec-websocket-protocol': `bearer, ${OPAQUE}` }), names: [/header/, /subprotocol/], not: [/query/, /cookie/] },
  'header and query': { ...ambiguous, request: { path: `/chat?token=${OPAQUE}`, headers: bearer }, names: [/header/, /query/], not: [/subprotocol/, /cookie/] },
  'query and subprotocol': { ...ambiguous, request: { path: `/chat?token=${OPAQUE}`, headers: { 'sec-websocket-protocol': `bearer, ${JWT}` } }, names: [/query/, /subprotocol/], not: [/header/, /cookie/] },
  'two in the query': { ...ambiguous, request: { path: `/chat?token=${JWT}&token=${OPAQUE}` }, names: [/query/, /token/], not: [/header/, /subprotocol/] },
  'two cookies': { ...ambiguous, request: headers({ cookie: `token=${JWT}; token=${OPAQUE}` }), names: [/cookie/, /token/], not: [/header/, /query/] },
  'two headers': { ...ambiguous, request: headers({ authorization: [`Bearer ${JWT}`, `Bearer ${OPAQUE}`] }), names: [/header|authorization/i], not: [/query/, /cookie/] },
  'two in the subprotocols': { ...ambiguous, request: protocols(`bearer, ${JWT}, base64url.bearer.${Buffer.from(OPAQUE).toString('base64url')}`), names: [/subprotocol/], not: [/query/, /header/] },
  'a ticket and a header': { ...ambiguous, plugin: { tickets: true }, request: { path: `/chat?ticket=${OPAQUE}`, headers: bearer }, names: [/ticket/, /header/], not: [/subprotocol/] }
}

const NOT_AUTHORIZED: Record<string, Row> = {
  roles: { ...forbidden, wsAuth: { roles: ['admin', 'owner'] }, request: headers(bearer), names: [/roles?/, /admin/, /owner/], not: [/scopes?/, /authorize/] },
  scopes: { ...forbidden, wsAuth: { scopes: ['chat:read', 'chat:admin'] }, request: headers(bearer), names: [/scopes?/, /chat:admin/], not: [/roles?/, /authorize/] },
  'scopes where the roles are enough': { ...forbidden, wsAuth: { roles: ['member'], scopes: ['chat:write'] }, request: headers(bearer), names: [/scopes?/, /chat:write/], not: [/authorize/] },
  authorize: { ...forbidden, wsAuth: { roles: ['member'], authorize: () => false }, request: headers(bearer), names: [/authorize/], not: [/scopes?/] },
  'authorize that answers anything but true': { ...forbidden, wsAuth: { authorize: async () => 1 as unknown as boolean }, request: headers(bearer), names: [/authorize/] }
}

const page = (origin: string, more: Record<string, string> = {}): RequestSettings => headers({ origin, host: 'localhost:3000', ...more })

const OTHER_ORIGINS: Record<string, Row> = {
  'another port': { ...wrongOrigin, request: page('http://localhost:5173', { cookie: `token=${JWT}` }), names: [/http:\/\/localhost:5173/, /localhost:3000/] },
  'a list': { ...wrongOrigin, plugin: { origin: ['https://app.example'] }, request: page('https://other.example', bearer), names: [/https:\/\/other\.example/, /https:\/\/app\.example|list|origin/] },
  'a function': { ...wrongOrigin, plugin: { origin: () => false }, request: page('https://other.example', bearer), names: [/https:\/\/other\.example/] },
  'an Origin that carries a token': { ...wrongOrigin, request: page(`https://other.example/?token=${JWT}`, { cookie: `token=${JWT}` }), names: [/https:\/\/other\.example/, /localhost:3000/] }
}

const verifyWith = (error: () => unknown): Pick<Row, 'plugin' | 'request'> => ({ plugin: { verify: () => { throw error() } }, request: headers({ authorization: `Bearer ${OPAQUE}` }) })
const withStatus = (statusCode: number): Error => Object.assign(new Error(`the issuer does not know ${OPAQUE}`), { statusCode })

const BAD_TOKENS: Record<string, Row> = {
  'a sub that is no string': { ...invalid, request: headers({ authorization: `Bearer ${sign({ sub: 7, exp: NOW + 600 })}` }), names: [/\bsub\b/] },
  'no JWT': { ...invalid, request: headers({ authorization: `Bearer ${OPAQUE}` }), names: [/./] },
  'another key': { ...invalid, request: headers({ authorization: `Bearer ${sign({ sub: 'ann', exp: NOW + 600 }, 'another key, which is long enough')}` }), names: [/signature/i] },
  'claims that do not match': { ...invalid, plugin: { claims: { type: 'object', required: ['tenant'] } }, request: headers(bearer), names: [/claims/, /schema|tenant/] },
  'verify that throws an error with statusCode 401': { ...invalid, ...verifyWith(() => withStatus(401)), names: [/the issuer does not know/] },
  'verify that throws an error with statusCode 403': { ...forbidden, ...verifyWith(() => withStatus(403)), names: [/the issuer does not know/] },
  'verify that answers null': { ...invalid, plugin: { verify: () => null }, request: headers({ authorization: `Bearer ${OPAQUE}` }), names: [/verify/] },
  'a token that is too long': { ...invalid, plugin: { maxTokenBytes: 64 }, request: headers(bearer), names: [/maxTokenBytes/] },
  'a token that has expired': { status: 401, code: 'WS_AUTH_TOKEN_EXPIRED', request: headers({ authorization: `Bearer ${sign({ sub: 'ann', exp: NOW - 600 })}` }), names: [/exp/] },
  'a ticket that is unknown': { status: 401, code: 'WS_AUTH_TICKET_INVALID', plugin: { tickets: true }, request: { path: `/chat?ticket=${OPAQUE}` }, names: [/./] },
  'a handshake of another version': { status: 400, code: 'WS_AUTH_HANDSHAKE_INVALID', request: headers({ ...bearer, 'sec-websocket-version': '8' }), names: [/version/i] }
}

interface Line {
  readonly level: number
  readonly event?: string
  readonly code?: string
  readonly why?: unknown
}

function refusedLines ({ log }: Pick<StartedApp, 'log'>): Line[] {
  return log.map((line) => JSON.parse(line) as Line).filter(({ event }) => event === 'refused')
}

/** What of the log is somebody's secret, shortened. */
function leaksOf ({ log }: Pick<StartedApp, 'log'>, more: readonly string[] = []): string[] {
  return log.flatMap((line) => [...SECRETS, ...more].filter((secret) => line.includes(secret)).map((secret) => `${secret.slice(0, 8)}: ${line.slice(0, 300)}`))
}

function tokensOf ({ headers = {}, path = '' }: RequestSettings): string[] {
  return [path, ...Object.values(headers).flat()].flatMap((text) => text?.match(/[\w-]+\.[\w-]+\.[\w-]+/g) ?? []).flatMap((jwt) => [jwt, ...jwt.split('.').slice(1)]).filter((part) => part.length > 30)
}

async function assertRow (t: Test, what: string, { plugin, wsAuth = true, request = {}, status, code, names, not = [] }: Row): Promise<void> {
  const started = await start(t, { plugin, routes: (app) => app.get('/chat', { websocket: true, wsAuth }, () => {}) })
  const client = await upgrade(t, started.port, request)
  client.socket.destroy()
  t.equal(client.answer.status, status, `${what}: status`)
  await until(() => refusedLines(started).length > 0, `${what}: a line`)
  const [line] = refusedLines(started)
  t.equal(line?.code, code, `${what}: code`)
  t.type(line?.why, 'string', `${what}: the line says why`)
  const why = String(line?.why)
  for (const name of names) t.match(why, name, `${what}: the reason names ${name}`)
  for (const name of not) t.notMatch(why, name, `${what}: the reason does not name ${name}`)
  t.ok(why.length <= 1000, `${what}: the reason is short`)
  t.strictSame(leaksOf(started, tokensOf(request)), [], `${what}: no secret in the log`)
  t.notMatch(client.answer.text, /why|sec-websocket-protocol: Bearer/i, `${what}: the client is not told`)
}

const TABLES: Record<string, Record<string, Row>> = {
  'a handshake without a token': NO_TOKEN,
  'a handshake with two tokens': TWO_TOKENS,
  'a user who may not connect': NOT_AUTHORIZED,
  'a page of another origin': OTHER_ORIGINS,
  'a token that is not good': BAD_TOKENS
}

for (const [about, table] of Object.entries(TABLES)) {
  t.test(`the log says why ${about} is refused, by names and never by values`, async (t) => {
    for (const [what, row] of Object.entries(table)) await t.test(`the log says why ${about} is refused: ${what}`, async (t) => await assertRow(t, what, row))
  })
}

t.test('the log says why a revoked token and a user with too many connections are refused', async (t) => {
  const started = await start(t, { plugin: { limits: { perUser: 1 } }, routes: (app) => app.get('/chat', { websocket: true }, () => {}) })
  const first = await upgrade(t, started.port, headers(bearer))
  t.equal(first.answer.status, 101)
  t.equal((await upgrade(t, started.port, headers(bearer))).answer.status, 429)
  await started.app.wsAuth.revoke({ sub: 'ann' })
  t.equal((await upgrade(t, started.port, headers(bearer))).answer.status, 401)
  const [limit, revoked] = refusedLines(started)
  t.match(limit, { code: 'WS_AUTH_LIMIT', why: /perUser/ })
  t.match(revoked, { code: 'WS_AUTH_TOKEN_REVOKED', why: /revoked|sub/ })
  t.strictSame(leaksOf(started), [])
})

t.test('the log says why a first message or a renewal is refused, and never has the token', async (t) => {
  const other = sign({ sub: 'bob', exp: NOW + 900 })
  const started = await start(t, { plugin: { token: { message: true }, renewal: true }, routes: (app) => app.get('/chat', { websocket: true, wsAuth: { roles: ['member'] } }, () => {}) })
  const first = async (text: string): Promise<RawClient> => {
    const client = await RawClient.open(t, started.port)
    await client.upgrade({ path: '/chat' }).response()
    return client.send(clientFrame(1, text))
  }
  for (const text of [JWT, JSON.stringify({ type: 'auth', token: other }), JSON.stringify({ type: 'auth', jwt: JWT }), JSON.stringify({ type: 'auth', token: OPAQUE })]) {
    const client = await first(text)
    await client.frame()
    client.socket.destroy()
  }
  const open = await first(JSON.stringify({ type: 'auth', token: JWT }))
  t.match(String((await open.frame()).payload), /auth\.ok/)
  open.send(clientFrame(1, JSON.stringify({ type: 'auth', token: other })))
  t.match(String((await open.frame()).payload), /auth\.error/)
  const lines = started.log.map((line) => JSON.parse(line) as Line).filter(({ event }) => event === 'refused' || event === 'renewal_refused')
  t.equal(lines.length, 5)
  for (const line of lines) t.ok(typeof line.why === 'string' && line.why !== '', `${line.event} ${line.code}: ${String(line.why)}`)
  t.match(lines[1], { code: 'WS_AUTH_FORBIDDEN', why: /roles?.*member|member.*roles?/ })
  t.match(lines[4], { event: 'renewal_refused', why: /\bsubject\b/ })
  t.strictSame(leaksOf(started, [other, ...other.split('.').slice(1)]), [])
})

t.test('the log warns once of a token without an exp, and names the claim', async (t) => {
  const started = await start(t, { routes: (app) => app.get('/chat', { websocket: true }, () => {}) })
  const authorization = `Bearer ${sign({ sub: 'ann' })}`
  for (let i = 0; i < 2; i++) t.equal((await upgrade(t, started.port, headers({ authorization }))).answer.status, 101)
  const warnings = started.log.map((line) => JSON.parse(line) as { level: number, msg: string }).filter(({ level }) => level === 40)
  t.equal(warnings.length, 1)
  t.match(warnings[0]?.msg, /\bexp\b/)
})

t.test('the log warns of a token that lives longer than its revocation, and names the option', async (t) => {
  const started = await start(t, { plugin: { revocationTtl: 60_000 }, routes: (app) => app.get('/chat', { websocket: true }, () => {}) })
  t.equal((await upgrade(t, started.port, headers(bearer))).answer.status, 101)
  const warnings = started.log.map((line) => JSON.parse(line) as { level: number, msg: string }).filter(({ level }) => level === 40)
  t.equal(warnings.length, 1)
  t.match(warnings[0]?.msg, /revocationTtl/)
})
