/*
 * Tokens and Origins that come twice are refused, and a token in the path is found where the router will find it.
 */
import t from 'tap'
import { prepare, sign, start, until } from '../helpers/app'
import { addChat, AMBIGUOUS, AUTHORIZED, greeting, NOT_WEBSOCKET, TOKEN } from '../helpers/chat'
import { upgrade } from '../helpers/raw-client'
import type { RequestSettings } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const ORIGIN_FORBIDDEN = '{"statusCode":403,"code":"WS_AUTH_ORIGIN_FORBIDDEN","error":"Forbidden","message":"The origin may not connect here"}'

t.test('a handshake that has an Origin or a token twice is refused', async (t) => {
  const { port } = await start(t, {
    plugin: { origin: ['https://example.com'] },
    routes: (app) => {
      addChat(app)
      addChat(app, '/same', { origin: 'same-host' })
      addChat(app, '/function', { origin: (origin) => origin === 'https://example.com' })
      addChat(app, '/x', { token: { header: 'x-token' } })
    }
  })
  for (const path of ['/chat', '/function']) {
    t.test(`a handshake that has its Origin twice is refused (${path})`, async (t) => {
      for (const origin of [['https://example.com', 'https://evil.example'], ['https://evil.example', 'https://example.com'], ['https://example.com', 'https://example.com']]) {
        const { answer } = await upgrade(t, port, { path, headers: { ...AUTHORIZED, origin } })
        t.equal(answer.status, 403)
        t.equal(answer.body, ORIGIN_FORBIDDEN)
        t.equal(answer.headers['www-authenticate'], undefined)
      }
    })
  }
  t.test('a handshake that has its Origin twice beside a cookie is refused', async (t) => {
    const cookie = `token=${TOKEN}`
    const { answer } = await upgrade(t, port, { path: '/same', headers: { cookie, origin: ['http://localhost', 'http://localhost'] } })
    t.equal(answer.body, ORIGIN_FORBIDDEN)
    t.equal((await upgrade(t, port, { path: '/same', headers: { cookie, origin: 'http://localhost' } })).answer.status, 101)
  })
  t.test('a token that is sent twice is ambiguous', async (t) => {
    const bad = sign({ sub: 'x' }, 'another')
    const twice: Array<[string, RequestSettings['headers']]> = [
      ['/chat', { authorization: [`Bearer ${TOKEN}`, `Bearer ${TOKEN}`] }],
      ['/chat', { authorization: [`Bearer ${TOKEN}`, `Bearer ${bad}`] }],
      ['/chat', { authorization: [`Bearer ${bad}`, `Bearer ${TOKEN}`] }],
      ['/chat', { authorization: ['Basic eDp5', `Bearer ${TOKEN}`] }],
      ['/chat', { authorization: [`Bearer ${TOKEN}`, ''] }],
      ['/chat', { Authorization: `Bearer ${TOKEN}`, AUTHORIZATION: `Bearer ${TOKEN}` }],
      ['/x', { 'x-token': [TOKEN, TOKEN] }],
      ['/x', { 'X-Token': TOKEN, 'x-token': TOKEN }],
      [`/chat?token=${TOKEN}&token=${TOKEN}`, {}],
      [`/chat?token=${bad}&token=${TOKEN}`, {}],
      [`/chat?token=${TOKEN}&%74oken=${TOKEN}`, {}],
      [`/chat?token=&token=${TOKEN}`, {}],
      [`/chat?token=${TOKEN}`, AUTHORIZED],
      [`/chat?token=${TOKEN}`, { 'sec-websocket-protocol': `bearer, ${TOKEN}` }],
      ['/chat', { ...AUTHORIZED, 'sec-websocket-protocol': `bearer, ${TOKEN}` }],
      ['/chat', { cookie: `token=${TOKEN}; token=${TOKEN}` }],
      ['/chat', { cookie: `token=${bad}; token=${TOKEN}` }],
      ['/chat', { cookie: [`token=${TOKEN}`, `token=${TOKEN}`] }],
      ['/chat', { cookie: `token=${TOKEN};token =${TOKEN}` }],
      ['/chat', { cookie: `a=1;\ttoken="${TOKEN}" ; b=2; token=` }]
    ]
    for (const [path, headers] of twice) {
      const { answer } = await upgrade(t, port, { path, headers })
      t.equal(answer.body, AMBIGUOUS, JSON.stringify([path, headers]).replaceAll(TOKEN, '<good>').replaceAll(bad, '<bad>'))
      t.equal(answer.status, 400)
      t.equal(answer.headers['www-authenticate'], 'Bearer error="invalid_request"')
    }
  })
  t.test('a cookie beside one of a similar name counts once', async (t) => {
    for (const cookie of [`xtoken=1; token=${TOKEN}`, `token.x=1; token=${TOKEN}`, `token;token=${TOKEN}`, `Token=1;  token  =  ${TOKEN}  ;`, `;;; token=${TOKEN};;;`, `a="b; token=${TOKEN}`]) {
      const client = await upgrade(t, port, { path: '/chat', headers: { cookie } })
      t.equal(client.answer.status, 101, cookie.replaceAll(TOKEN, '<token>'))
    }
  })
})

t.test('the plugin finds a token in the path by the param of its route', async (t) => {
  const long = sign({ sub: 'somebody', filler: 'x'.repeat(1000) })
  await t.test('a token in the path may be longer than maxParamLength', async (t) => {
    const { port } = await start(t, { plugin: { token: { param: 'jwt' } }, routes: (app) => { addChat(app, '/rooms/:room/:jwt'); addChat(app, '/ws/:jwt/end/*') } })
    for (const path of [`/rooms/7/${long}`, `/rooms/7/${long}?a=1`, `/rooms/7/${encodeURIComponent(long)}`, `http://localhost/rooms/7/${long}`]) {
      const client = await upgrade(t, port, { path })
      t.equal(client.answer.status, 101, path)
      t.equal(await greeting(client), 'hello {"room":"7","jwt":"-"} param')
    }
    t.equal(await greeting(await upgrade(t, port, { path: `/ws/${long}/end/of/path` })), 'hello {"jwt":"-","*":"of/path"} param')
    t.equal((await upgrade(t, port, { path: '/rooms/7/x' })).answer.status, 401)
    t.equal((await upgrade(t, port, { path: `/rooms/7/${long}`, headers: AUTHORIZED })).answer.body, AMBIGUOUS)
  })

  for (const [how, routerOptions] of Object.entries({ 'that are strict': {}, 'that ignore slashes': { ignoreTrailingSlash: true, ignoreDuplicateSlashes: true } })) {
    await t.test(`the plugin finds no token in many slashes, by routes ${how}`, async (t) => {
      const { app, port } = await start(t, {
        server: { routerOptions },
        routes: (app) => {
          addChat(app, '/chat')
          addChat(app, '/rooms/:jwt', { token: { param: 'jwt' } })
          addChat(app, '/open/:room/*')
        }
      })
      const many = '/'.repeat(15_000)
      const ignores = how === 'that ignore slashes'
      for (const [path, headers, expected] of [
        ['/'.repeat(16_000), {}, [404]],
        ['/'.repeat(16_000), AUTHORIZED, [404]],
        [`/chat${many}`, {}, ignores ? [401] : [404]],
        [`/rooms${many}`, AUTHORIZED, [401, 404]],
        [`/rooms/${TOKEN}${many}`, {}, ignores ? [101] : [404]],
        [`/rooms${many}${TOKEN}`, {}, ignores ? [101] : [404]],
        [`/open/${many}`, {}, [401, 404]],
        [`/open/7${many}x`, AUTHORIZED, ignores ? [101] : [101, 404, 414]]
      ] as Array<[string, Record<string, string>, number[]]>) {
        const client = await upgrade(t, port, { path, headers: { ...headers } })
        t.ok(expected.includes(client.answer.status), `${path.replace(/\/{3,}/g, '/…').replace(TOKEN, '<token>')} ${Object.keys(headers).join()}: ${client.answer.status}`)
        t.notOk(client.text.includes(TOKEN), 'the answer has no token')
        client.socket.destroy()
      }
      await until(() => statsOf(app).pending === 0, 'nothing that waits')
    })
  }

  // The token is looked for before the router runs, and must be looked for where the router will find it.
  t.test('a token in the path does not change the params of other routes', async (t) => {
    const { port } = await start(t, {
      routes: (app) => {
        addChat(app, '/rooms/:token', { token: { param: true } })
        addChat(app, '/rooms/lobby')
        addChat(app, '/:tenant/:token', { token: { param: true } })
        addChat(app, '/users/:id')
        addChat(app, '/files/*')
        app.get('/rooms/plain', async () => 'plain')
      }
    })
    t.equal(await greeting(await upgrade(t, port, { path: `/rooms/${TOKEN}` })), 'hello {"token":"-"} param')
    t.equal(await greeting(await upgrade(t, port, { path: `/acme/${TOKEN}` })), 'hello {"tenant":"acme","token":"-"} param')
    const expected = { '/rooms/lobby': 'hello {} header', '/users/7': 'hello {"id":"7"} header', '/files/a': 'hello {"*":"a"} header' }
    for (const [path, hello] of Object.entries(expected)) {
      const client = await upgrade(t, port, { path, headers: AUTHORIZED })
      t.equal(client.answer.status, 101, path)
      if (client.answer.status === 101) t.equal(await greeting(client), hello)
    }
    t.equal((await upgrade(t, port, { path: '/rooms/plain', headers: AUTHORIZED })).answer.body, NOT_WEBSOCKET)
  })

  // A param with a pattern, or beside a text, does not fit anything.
  t.test('the plugin tells a token in the path from params of other routes', async (t) => {
    for (const isFirst of [true, false]) {
      const { port, log } = await start(t, {
        routes: (app) => {
          if (isFirst) addChat(app, '/rooms/:token', { token: { param: true } })
          addChat(app, '/rooms/:number(^\\d+$)')
          addChat(app, '/rooms/:name.json')
          if (!isFirst) addChat(app, '/rooms/:token', { token: { param: true } })
        }
      })
      const jwt = await upgrade(t, port, { path: `/rooms/${long}` })
      t.equal(jwt.answer.status, 101, 'a token')
      t.notMatch(log.join('') + jwt.answer.text, long)
      for (const [path, hello] of [['/rooms/7', 'hello {"number":"7"} header'], ['/rooms/x.json', 'hello {"name":"x"} header']] as const) {
        const client = await upgrade(t, port, { path, headers: AUTHORIZED })
        t.equal(client.answer.status, 101, path)
        if (client.answer.status === 101) t.equal(await greeting(client), hello)
      }
    }
  })

  t.test('a token in the path does not change a dry run of another route', async (t) => {
    const { app } = await prepare(t, {
      plugin: { token: { param: true } },
      routes: (app) => { addChat(app, '/:tenant/:token'); addChat(app, '/users/:id') }
    })
    t.equal((await app.inject({ url: '/users/7', headers: AUTHORIZED })).statusCode, 426)
    t.equal((await app.inject(`/acme/${'x'.repeat(50)}`)).statusCode, 401)
  })

  t.test('the plugin reads a token from the path before rewriteUrl changes the path', async (t) => {
    const { port } = await start(t, {
      server: { rewriteUrl: (request) => (request.url ?? '').replace(/^\/api/, '') },
      routes: (app) => { addChat(app, '/rooms/:token', { token: { param: true } }) }
    })
    t.equal((await upgrade(t, port, { path: `/api/rooms/${long}` })).answer.status, 414)
    t.equal((await upgrade(t, port, { path: `/rooms/${long}` })).answer.status, 101)
  })
})
