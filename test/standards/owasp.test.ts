/*
 * The lists of OWASP: what is left to an application can be done with this package. What no other file has is here.
 */
import { once } from 'node:events'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { WebSocket } from 'ws'
import { sign } from '../helpers/app'
import { clientFrame, upgrade } from '../helpers/raw-client'
import type { RawClient } from '../helpers/raw-client'
import { AUTHORIZED, present, serve, shake, TOKEN } from '../helpers/standards'

t.test('OWASP: the package gives an application what it needs for its own duties', async (t) => {
  t.test('revoke() ends all connections of one user, and of all users by one call', async (t) => {
    const { app, port } = await serve(t)
    const open = async (sub: string): Promise<RawClient> => {
      const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign({ sub })}` } })
      t.equal((await client.frame()).payload.toString(), `hello ${sub}`)
      return client
    }
    const [ann, bob, eve] = [await open('ann'), await open('bob'), await open('eve')]
    await app.wsAuth.revoke({ sub: 'ann' })
    t.strictSame(await ann.close(), { code: 3000, reason: 'token_revoked' })
    t.strictSame([...app.wsAuth.connections].map(({ sub }) => sub), ['bob', 'eve'])
    t.equal((await app.wsAuth.revoke({ all: true })).closed, 2)
    for (const client of [bob, eve]) t.strictSame(await client.close(), { code: 3000, reason: 'token_revoked' })
    t.equal(app.wsAuth.connections.size, 0)
  })

  t.test('a silent client stays connected, also with a heartbeat, until the application ends it', async (t) => {
    const { app, port } = await serve(t, { heartbeat: { interval: 500 } })
    const client = new WebSocket(`ws://127.0.0.1:${port}/chat`, { headers: AUTHORIZED })
    t.teardown(() => client.terminate())
    for (let pings = 0; pings < 2; pings++) await once(client, 'ping')
    t.equal(client.readyState, WebSocket.OPEN)
    const [connection] = app.wsAuth.connections
    connection?.close(3003, 'idle')
    const [code, reason] = await once(client, 'close')
    t.strictSame([code, String(reason)], [3003, 'idle'])
  })

  t.test('the log has the user, the address and the reason of a handshake, and the Origin if it is the reason', async (t) => {
    const { log, port } = await serve(t, { origin: ['https://chat.example'] })
    const line = (msg: string): Record<string, unknown> | undefined => log.map((text) => JSON.parse(text)).findLast((line) => line.msg === msg)
    t.equal(await shake(t, port, { headers: { origin: 'https://evil.example' } }), '403 WS_AUTH_ORIGIN_FORBIDDEN')
    t.match(line('websocket handshake refused'), { code: 'WS_AUTH_ORIGIN_FORBIDDEN', route: '/chat', address: '127.0.0.1', sub: null, why: 'its Origin is https://evil.example, and the "origin" option has https://chat.example' })
    t.equal(await shake(t, port, { headers: { origin: `https://${'e'.repeat(8000)}.example` } }), '403 WS_AUTH_ORIGIN_FORBIDDEN')
    t.ok(String(line('websocket handshake refused')?.why).length < 300, 'shortened')
    t.equal(await shake(t, port, { path: `/chat?token=${TOKEN}`, headers: { authorization: undefined, origin: `http://x/?token=${TOKEN}` } }), '403 WS_AUTH_ORIGIN_FORBIDDEN')
    t.match(line('websocket handshake refused')?.why, /^its Origin is http:\/\/x\/\?token=\[token\], and the "origin" option has https:\/\/chat\.example$/)
    log.length = 0
    const client = await upgrade(t, port, { path: '/chat', headers: { ...AUTHORIZED, origin: 'https://chat.example' } })
    await client.frame()
    client.send(clientFrame(1, 'what ann says'))
    t.equal((await client.frame()).payload.toString(), 'what ann says')
    t.match(line('websocket handshake accepted'), { route: '/chat', address: '127.0.0.1', sub: 'ann', source: 'header' })
    t.notMatch(log.join(''), /chat\.example/)
    t.notMatch(log.join(''), /what ann says/)
    t.notMatch(log.join(''), TOKEN)
  })

  t.test('a renewal does not end the old token, and a revocation by jti does', async (t) => {
    const { app, port } = await serve(t)
    const [old, next] = ['old', 'next'].map((jti) => sign({ sub: 'ann', jti })) as [string, string]
    t.equal(await present(t, port, old), '101')
    const [connection] = app.wsAuth.connections
    await connection?.renew(next)
    t.equal(connection?.claims?.jti, 'next')
    t.equal(await present(t, port, old), '101')
    await app.wsAuth.revoke({ jti: 'old' })
    t.equal(await present(t, port, old), '401 WS_AUTH_TOKEN_REVOKED')
    t.equal(await present(t, port, next), '101')
  })

  t.test('a restart forgets revocations that are kept in memory', async (t) => {
    const before = await serve(t)
    await before.app.wsAuth.revoke({ sub: 'ann' })
    t.equal(await shake(t, before.port), '401 WS_AUTH_TOKEN_REVOKED')
    await before.app.close()
    const after = await serve(t)
    t.equal(await shake(t, after.port), '101')
  })

  t.test('the handler gets an injected message as it was sent, because the application checks messages', async (t) => {
    const { port } = await serve(t)
    const client = await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
    await client.frame()
    for (const text of ['<script>alert(1)</script>', '\'; DROP TABLE users; --', '{"__proto__":{"admin":true}}']) {
      client.send(clientFrame(1, text))
      t.equal((await client.frame()).payload.toString(), text)
    }
  })

  t.test('the app decides whether a token in the URL is accepted, and no log and no request has it', async (t) => {
    const urls: string[] = []
    const { port, log } = await serve(t, {}, true, { before: (app: FastifyInstance) => { app.addHook('onRequest', async ({ url, raw, query }) => { urls.push(url, String(raw.url), JSON.stringify(query)) }) } })
    t.equal(await shake(t, port, { path: `/chat?token=${TOKEN}`, headers: { authorization: undefined } }), '101')
    t.strictSame(urls, ['/chat', '/chat', '{}'])
    t.notMatch(log.join(''), TOKEN)

    const { port: without } = await serve(t, { token: { query: false } })
    t.equal(await shake(t, without, { path: `/chat?token=${TOKEN}`, headers: { authorization: undefined } }), '401 WS_AUTH_TOKEN_MISSING')
  })
})
