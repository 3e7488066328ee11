/*
 * `app.wsAuth.authenticate`: plain routes are guarded as the websockets are.
 */
import t from 'tap'
import { WsAuthError } from '../../lib/index'
import type { WsAuthOptions } from '../../lib/index'
import { prepare, SECRET, sign, start, until } from '../helpers/app'
import { plainText, RawClient } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const HOOKS = ['onRequest', 'preValidation', 'preHandler'] as const
const TOKEN = sign({ sub: 'ann' })
const BEARER = { authorization: `Bearer ${TOKEN}` }

async function build (t: Parameters<typeof prepare>[0], plugin: WsAuthOptions = {}): ReturnType<typeof prepare> {
  return await prepare(t, {
    plugin,
    routes: (app) => {
      for (const hook of HOOKS) app.route({ method: ['GET', 'POST'], url: `/${hook}`, [hook]: app.wsAuth.authenticate, handler: async (request) => ({ user: request.user, headers: request.headers.authorization ?? null }) })
      app.get('/ws', { websocket: true }, () => {})
    }
  })
}

t.test('a plain route has the user of a token in the header or the cookie, in each hook, and the token stays in its place', async (t) => {
  const { app } = await build(t)
  for (const hook of HOOKS) {
    t.strictSame((await app.inject({ url: `/${hook}`, headers: BEARER })).json(), { user: { sub: 'ann' }, headers: `Bearer ${TOKEN}` }, hook)
    t.strictSame((await app.inject({ url: `/${hook}`, cookies: { token: TOKEN } })).json(), { user: { sub: 'ann' }, headers: null }, hook)
  }
})

t.test('a refusal has the status, the code and the challenge of a handshake, and a line in the log', async (t) => {
  const { app, log } = await build(t)
  const cases: Array<[headers: Record<string, string>, status: number, code: string, challenge: string | undefined]> = [
    [{}, 401, 'WS_AUTH_TOKEN_MISSING', 'Bearer realm="websocket"'],
    [{ authorization: `Token ${TOKEN}` }, 401, 'WS_AUTH_TOKEN_MISSING', 'Bearer realm="websocket"'],
    [{ authorization: `Bearer ${TOKEN}x` }, 401, 'WS_AUTH_TOKEN_INVALID', 'Bearer error="invalid_token"'],
    [{ authorization: `Bearer ${sign({ sub: 'ann', exp: 1 })}` }, 401, 'WS_AUTH_TOKEN_EXPIRED', 'Bearer error="invalid_token"'],
    [{ cookie: `token=${TOKEN}; token=${TOKEN}` }, 400, 'WS_AUTH_TOKEN_AMBIGUOUS', 'Bearer error="invalid_request"']
  ]
  for (const [headers, status, code, challenge] of cases) {
    log.length = 0
    const response = await app.inject({ url: '/onRequest', headers })
    t.strictSame([response.statusCode, response.json<{ code: string }>().code, response.headers['www-authenticate']], [status, code, challenge])
    const line = log.map((line) => JSON.parse(line) as { msg: string, code?: string, why?: string }).find(({ msg }) => msg === 'request refused')
    t.match(line, { code, why: /./ })
    t.notOk(log.some((line) => line.includes(TOKEN)), 'the log has no token')
  }
  t.same(statsOf(app).refused, {}, 'plain requests are no handshakes')
})

t.test('a call of authenticate in place of its use as a hook is a TypeError', async (t) => {
  const { app } = await build(t)
  t.throws(() => (app.wsAuth.authenticate as unknown as (options: object) => unknown)({ roles: ['admin'] }), { name: 'TypeError', message: /must be given as a hook, and not called/ })
})

t.test('a plain route takes a token from the header or the cookie only', async (t) => {
  const { app } = await build(t)
  t.equal((await app.inject({ url: `/onRequest?token=${TOKEN}` })).statusCode, 401)
  t.equal((await app.inject({ url: '/onRequest', headers: { 'sec-websocket-protocol': `bearer, ${TOKEN}` } })).statusCode, 401)
})

t.test('a cookie counts only from an origin that a handshake would admit', async (t) => {
  const ask = async (app: Awaited<ReturnType<typeof build>>['app'], origin: string, headers: Record<string, string> = {}): Promise<number> =>
    (await app.inject({ method: 'POST', url: '/preHandler', headers: { origin, host: 'app.example', ...headers }, cookies: 'authorization' in headers ? {} : { token: TOKEN } })).statusCode
  const sameHost = await build(t)
  t.equal(await ask(sameHost.app, 'http://app.example'), 200)
  t.equal(await ask(sameHost.app, 'http://evil.example'), 403)
  t.equal(await ask(sameHost.app, 'http://evil.example', BEARER), 200, 'a page must have a token that it sends in a header')
  const listed = await build(t, { origin: ['https://page.example'] })
  t.equal(await ask(listed.app, 'https://page.example'), 200)
  t.equal(await ask(listed.app, 'http://app.example'), 403)
  const asked = await build(t, { origin: async (origin) => origin === 'https://page.example' })
  t.equal(await ask(asked.app, 'https://page.example'), 200)
  t.equal(await ask(asked.app, 'http://app.example'), 403)
})

t.test('revocation, confirm, claims and user count for a plain route as in a handshake', async (t) => {
  const { app } = await build(t, {
    claims: { type: 'object', required: ['sub'] },
    confirm: ({ sub }) => sub !== 'bound',
    user: ({ sub }) => sub === 'nobody' ? null : { sub: `user ${sub}` } as never
  })
  const ask = async (claims: object): Promise<string> => {
    const response = await app.inject({ url: '/preHandler', headers: { authorization: `Bearer ${sign({ ...claims })}` } })
    return response.statusCode === 200 ? response.json<{ user: { sub: string } }>().user.sub : `${response.statusCode} ${response.json<{ code: string }>().code}`
  }
  t.equal(await ask({ sub: 'ann' }), 'user ann')
  t.equal(await ask({}), '401 WS_AUTH_TOKEN_INVALID')
  t.equal(await ask({ sub: 'bound' }), '401 WS_AUTH_TOKEN_INVALID')
  t.equal(await ask({ sub: 'nobody' }), '401 WS_AUTH_TOKEN_INVALID')
  await app.wsAuth.revoke({ sub: 'ann' })
  t.equal(await ask({ sub: 'ann' }), '401 WS_AUTH_TOKEN_REVOKED')
})

t.test('a verifier that fails or never answers causes 503, and the client does not learn the reason', async (t) => {
  let signal: AbortSignal | undefined
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => clearInterval(alive))
  const { app, log } = await build(t, {
    handshakeTimeout: 50,
    verify: async (token, _request, context) => {
      if (token === 'throw') throw new Error('the database is down')
      signal = context.signal
      return await new Promise(() => {})
    }
  })
  for (const token of ['throw', 'hang']) {
    const response = await app.inject({ url: '/preHandler', headers: { authorization: `Bearer ${token}` } })
    t.strictSame([response.statusCode, response.json<{ message: string }>().message], [503, 'Authentication is unavailable'], token)
  }
  t.ok(signal?.aborted, 'the verifier is told that its answer is no longer needed')
  t.ok(log.some((line) => line.includes('the database is down')), 'the log says why')
})

t.test('a signed cookie is unsigned, and one with a wrong signature is refused', async (t) => {
  const { app } = await build(t, { cookie: { secret: SECRET }, token: { cookie: { name: 'token', signed: true } } })
  t.equal((await app.inject({ url: '/preHandler', cookies: { token: app.signCookie(TOKEN) } })).statusCode, 200)
  t.equal((await app.inject({ url: '/preHandler', cookies: { token: TOKEN } })).statusCode, 401)
})

t.test('a refusal by verify is logged with its cause, if it has one', async (t) => {
  const causes: Record<string, WsAuthError> = {
    'no cause': new WsAuthError('WS_AUTH_TOKEN_INVALID'),
    'an error': new WsAuthError('WS_AUTH_TOKEN_REVOKED', { cause: new Error('by the app') }),
    'an outage': new WsAuthError('WS_AUTH_UNAVAILABLE')
  }
  const { app, log } = await build(t, { verify: (token) => { const error: Error = causes[token.replace('_', ' ')] as WsAuthError; throw error } })
  for (const [name, { statusCode }] of Object.entries(causes)) {
    t.equal((await app.inject({ url: '/preHandler', headers: { authorization: `Bearer ${name.replace(' ', '_')}` } })).statusCode, statusCode, name)
  }
  const lines = log.map((line) => JSON.parse(line) as { msg: string, why?: string, level: number }).filter(({ msg }) => msg === 'request refused')
  t.strictSame(lines.map(({ why, level }) => [level, why]), [[30, undefined], [30, 'by the app'], [50, undefined]])
})

t.test('a client that leaves while its token is verified aborts the verification, and no handler runs for it', async (t) => {
  let signal: AbortSignal | undefined
  let settle = (): void => {}
  let handled = 0
  const { app, port, log } = await start(t, {
    plugin: {
      verify: async (_token, _request, context) => {
        signal = context.signal
        await new Promise<void>((resolve) => { settle = resolve })
        return { sub: 'ann' }
      }
    },
    routes: (app) => app.get('/', { onRequest: app.wsAuth.authenticate }, async () => { handled++ })
  })
  const client = await RawClient.open(t, port)
  client.send(plainText({ headers: BEARER }))
  await until(() => signal !== undefined, 'the verification')
  client.socket.destroy()
  await until(() => signal?.aborted === true, 'the signal')
  settle()
  await app.close()
  t.equal(handled, 0)
  t.notOk(log.some((line) => line.includes('request refused')), 'there was no client to refuse')
})
