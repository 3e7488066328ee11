/*
 * RFC 6750, 3: the WWW-Authenticate of Bearer.
 */
import t from 'tap'
import type { Test } from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { prepare, sign } from '../helpers/app'
import { seconds } from '../helpers/keys'
import { upgrade } from '../helpers/raw-client'
import type { RequestSettings } from '../helpers/raw-client'
import { serve } from '../helpers/standards'

t.test('RFC 6750, 3: WWW-Authenticate has the challenge of each refusal', async (t) => {
  const app = (plugin: fastifyWsAuth.WsAuthOptions = {}): fastifyWsAuth.WsAuthOptions => ({ tickets: true, limits: { perUser: 1 }, origin: ['https://chat.example'], ...plugin })
  const { port, app: server } = await serve(t, app(), { scopes: ['chat:read', 'chat:write'] })
  const good = sign({ sub: 'ann', scope: 'chat:write chat:read' })
  const bearer = (token: string): RequestSettings => ({ path: '/chat', headers: { authorization: `Bearer ${token}` } })
  await server.wsAuth.revoke({ jti: 'revoked' })

  /** The status of a refusal and its challenge. */
  async function challenge (t: Test, settings: RequestSettings, at = port): Promise<[status: number, challenge: string | undefined]> {
    const { answer: { status, headers } } = await upgrade(t, at, { path: '/chat', ...settings })
    return [status, headers['www-authenticate']]
  }

  t.test('3: every 401 has one challenge, and refusals for other reasons have none', async (t) => {
    const none: Array<[string, RequestSettings, number]> = [
      ['no handshake', { headers: { ...bearer(good).headers, 'sec-websocket-key': 'x' } }, 400],
      ['another origin', { headers: { ...bearer(good).headers, origin: 'https://evil.example' } }, 403],
      ['no websocket', { ...bearer(good), path: '/nowhere' }, 404]
    ]
    for (const [what, settings, status] of none) t.strictSame(await challenge(t, settings), [status, undefined], what)
    t.strictSame(await challenge(t, bearer(good)), [101, undefined], 'who is let in')
    t.strictSame(await challenge(t, bearer(good)), [429, undefined], 'one too many')
    const { port: broken } = await serve(t, { verify: () => { throw new Error('down') } })
    t.strictSame(await challenge(t, bearer(good), broken), [503, undefined], 'nobody can say')

    for (const settings of [{}, bearer('x'), bearer(sign({ exp: seconds(-1) })), { path: '/chat?ticket=x' }]) {
      const { answer } = await upgrade(t, port, { path: '/chat', ...settings })
      t.equal(answer.status, 401)
      t.equal(answer.text.match(/^www-authenticate: /gim)?.length, 1)
    }
  })

  t.test('3: a dry run and a ticket request get the same challenge', async (t) => {
    for (const url of ['/chat', '/ws-ticket']) {
      const method = url === '/chat' ? 'GET' : 'POST'
      t.equal((await server.inject({ url, method })).headers['www-authenticate'], 'Bearer realm="websocket"')
      t.equal((await server.inject({ url, method, headers: { authorization: 'Bearer x' } })).headers['www-authenticate'], 'Bearer error="invalid_token"')
    }
  })

  t.test('3.1: a request without a token, or with another scheme, gets a realm and no error', async (t) => {
    for (const headers of [{}, { authorization: 'Basic YTpi' }, { authorization: 'Bearer' }, { cookie: 'other=1' }]) {
      t.strictSame(await challenge(t, { headers }), [401, 'Bearer realm="websocket"'], JSON.stringify(headers))
    }
  })

  t.test('3.1: a request without a required ticket and without a token gets no error', async (t) => {
    for (const message of [false, true]) {
      const { port } = await serve(t, { tickets: { require: true }, token: { message } })
      t.strictSame(await challenge(t, {}, port), [401, 'Bearer realm="websocket"'])
      t.strictSame(await challenge(t, bearer(good), port), [401, 'Bearer error="invalid_token"'])
      t.strictSame(await challenge(t, { path: '/chat?ticket=x' }, port), [401, message ? 'Bearer error="invalid_token"' : 'Bearer realm="websocket"'])
    }
  })

  t.test('3.1: more than one token is 400 invalid_request', async (t) => {
    for (const settings of [{ ...bearer(good), path: `/chat?token=${good}` }, { path: `/chat?token=${good}&token=${good}` }, { ...bearer(good), path: '/chat?ticket=x' }, { headers: { authorization: [`Bearer ${good}`, `Bearer ${good}`] } }]) {
      t.strictSame(await challenge(t, settings), [400, 'Bearer error="invalid_request"'], JSON.stringify(Object.keys(settings)))
    }
  })

  t.test('3.1: a malformed, expired, revoked or wrong token, and an invalid ticket, is 401 invalid_token', async (t) => {
    for (const settings of [bearer('x'), bearer(sign({ exp: seconds(-1) })), bearer(sign({ jti: 'revoked' })), bearer(sign({ sub: 'ann' }, 'another secret of thirty-two bytes')), { path: '/chat?token=x' }, { headers: { cookie: 'token=x' } }, { path: '/chat?ticket=x' }]) {
      t.strictSame(await challenge(t, settings), [401, 'Bearer error="invalid_token"'], JSON.stringify(settings).slice(0, 60))
    }
  })

  t.test('3.1: a user without permission is 403 insufficient_scope, with the scopes of the route if it has some', async (t) => {
    t.strictSame(await challenge(t, bearer(sign({ sub: 'bob', scope: 'chat:read' }))), [403, 'Bearer error="insufficient_scope", scope="chat:read chat:write"'])
    const { port: roles } = await serve(t, {}, { roles: ['admin'] })
    t.strictSame(await challenge(t, bearer(good), roles), [403, 'Bearer error="insufficient_scope"'])
  })

  t.test('3: a scope that cannot be quoted throws a TypeError when the route is declared', async (t) => {
    for (const scope of ['a"b', 'a\\b', 'a b', '', 'a\u007f', '\u00e9', 'a\r\nb']) {
      await t.rejects(prepare(t, { routes: (app) => { app.get('/x', { websocket: true, wsAuth: { scopes: [scope] } }, () => {}) } }), TypeError, JSON.stringify(scope))
    }
    const odd = ['!', '#[', ']~', 'urn:a=b&c,d;e\'']
    const { port } = await serve(t, {}, { scopes: odd })
    const [, header = ''] = await challenge(t, bearer(good), port)
    t.match(header, /^Bearer error="insufficient_scope", scope="[\x21\x23-\x5B\x5D-\x7E ]+"$/)
    t.strictSame(/scope="([^"]*)"/.exec(header)?.[1]?.split(' '), odd)
  })

  t.test('3: a challenge has nothing of the request, and each attribute once', async (t) => {
    const headers = { authorization: 'Bearer x", error="none', origin: 'https://chat.example' }
    t.strictSame(await challenge(t, { path: '/chat?error=%22&scope=a', headers }), [401, 'Bearer error="invalid_token"'])
  })
})
