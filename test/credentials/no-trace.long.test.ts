/*
 * The verifier alone sees a token that was sent to this server: the log does not, no hook, handler or error handler behind the
 * handshake does, and no answer has it.
 */
import { inspect } from 'node:util'
import t from 'tap'
import { prepare, sign, start } from '../helpers/app'
import { plainText, RawClient } from '../helpers/raw-client'
import type { RequestSettings } from '../helpers/raw-client'
import { assertNoTrace, send, SOURCES, spy, traces } from '../helpers/spied-app'

for (const [kind, how] of [['a good JWT', { isCustom: true }], ['a good JWT', { isSigned: true }], ['an opaque token that is wrong', { rejectWith: 'close' }]] as const) {
  t.test(`${kind} leaves no trace with ${JSON.stringify(how)}`, async (t) => { await assertNoTrace(t, kind, how) })
}

t.test('an ambiguous token leaves no trace', async (t) => {
  const [token, another] = [sign({ sub: 'canary' }), sign({ sub: 'another' })]
  for (const isCustom of [false, true]) {
    const app = await spy(t, { isCustom })
    const twice: RequestSettings[] = [
      { path: `/accepted?token=${token}&token=${another}` },
      { path: `/accepted?token=${token}`, headers: { authorization: `Bearer ${another}` } },
      { path: `/accepted?token=${token}`, headers: { 'sec-websocket-protocol': `bearer, ${another}, chat` } },
      { path: '/accepted', headers: { 'sec-websocket-protocol': `bearer, ${token}, base64url.bearer.${Buffer.from(another).toString('base64url')}, chat` } },
      { path: '/accepted', headers: { authorization: [`Bearer ${token}`, `Bearer ${another}`] } },
      { path: '/accepted', headers: { authorization: ['Basic eDp5', `Bearer ${another}`] } },
      { path: '/accepted', headers: { cookie: `token=${token}; token=${another}` } },
      { path: '/accepted', headers: { cookie: [`token=${token}`, `token=${another}`] } },
      { path: '/accepted', headers: { cookie: `token =${token};x=1;\ttoken\t=\t"${another}"` } },
      { path: `/accepted/${token}?token=${another}` },
      { path: `/accepted/${token}`, headers: { authorization: `Bearer ${another}` } }
    ]
    for (const request of twice) {
      app.seen.length = app.log.length = 0
      const answer = await send(t, app, request)
      t.equal(answer.status, 400)
      for (const canary of [token, another]) {
        const all = [...app.log, ...app.seen, answer.text].join('\n')
        t.same(traces(all, canary), [], JSON.stringify(request).replaceAll(token, '<token>').replaceAll(another, '<another>'))
      }
    }
  }
})

t.test('a cookie beside a token that counts leaves no trace', async (t) => {
  const [token, cookie] = [sign({ sub: 'canary' }), sign({ sub: 'another' })]
  const app = await spy(t, {})
  const answer = await send(t, app, { path: '/accepted', headers: { authorization: `Bearer ${token}`, cookie: `token=${cookie}` } })
  t.equal(answer.status, 101)
  for (const canary of [token, cookie]) t.same(traces([...app.log, ...app.seen, answer.text].join('\n'), canary), [])
})

t.test('a handshake that is invalid leaves no trace', async (t) => {
  const token = sign({ sub: 'canary' })
  for (const isCustom of [false, true]) {
    const app = await spy(t, { isCustom })
    for (const headers of [{ 'sec-websocket-version': '8' }, { 'sec-websocket-key': 'x' }, { upgrade: 'websocket, h2c' }, { host: ['a', 'b'] }]) {
      for (const [source, write] of Object.entries(SOURCES)) {
        if (source === 'signed cookie') continue
        app.seen.length = app.log.length = 0
        const request = write(token, '/accepted')
        const answer = await send(t, app, { ...request, headers: { ...request.headers, ...headers } })
        t.equal(answer.status, 400)
        t.same(traces([...app.log, ...app.seen, answer.text].join('\n'), token), [], JSON.stringify([request, headers]).replaceAll(token, '<token>'))
      }
    }
    for (const offered of [`base64url.bearer.${Buffer.from(token).toString('base64url')}`, `bearer, ${token}, bearer`, `bearer, ${token}, x, x`, `bearer, ${token},`]) {
      app.seen.length = app.log.length = 0
      const answer = await send(t, app, { path: '/accepted', headers: { 'sec-websocket-protocol': offered } })
      t.equal(answer.status, 400)
      t.same(traces([...app.log, ...app.seen, answer.text].join('\n'), token), [])
    }
  }
})

t.test('the URL and the query keep all other parts if the token is removed', async (t) => {
  const token = sign({ sub: 'canary' })
  /** The path that is sent, and the URL and query that the handler sees. */
  const cases: Array<[string, string, object]> = [
    [`/accepted?a=1&token=${token}&b=2`, '/accepted?a=1&b=2', { a: '1', b: '2' }],
    [`/accepted?token=${token}&a=1&a=2`, '/accepted?a=1&a=2', { a: ['1', '2'] }],
    [`/accepted?a=%zz&b=+%2B&token=${token}`, '/accepted?a=%zz&b=+%2B', { a: '%zz', b: ' +' }],
    [`/accepted?tok%65n=${token}&xtoken=1&token2=2&Token=3`, '/accepted?xtoken=1&token2=2&Token=3', { xtoken: '1', token2: '2', Token: '3' }],
    [`/accepted?%74%6F%6b%65%6E=${token}`, '/accepted', {}],
    [`/accepted?token=${token}`, '/accepted', {}],
    [`/accepted?&&token=${token}&`, '/accepted?&&', {}],
    [`/accepted?a=b?token=1&token=${token}`, '/accepted?a=b?token=1', { a: 'b?token=1' }],
    [`/accepted?a=b=c&token=${token}`, '/accepted?a=b=c', { a: 'b=c' }],
    [`/accepted#token=${token}`, '/accepted', {}],
    [`/accepted#a=1&token=${token}`, '/accepted#a=1', { a: '1' }],
    [`/accepted/${token}?a=1`, '/accepted/-?a=1', { a: '1' }]
  ]
  const seen: unknown[] = []
  const app = await spy(t, { routes: (app) => app.addHook('preHandler', async (request) => { seen.push(request.url, { ...request.query as object }, request.raw.url, request.originalUrl) }) })
  for (const [path, url, query] of cases) {
    seen.length = app.seen.length = app.log.length = 0
    const answer = await send(t, app, { path })
    t.equal(answer.status, 101)
    t.same(seen, [url, query, url, url], path.replace(token, '<token>'))
    t.same(traces([...app.log, ...app.seen, answer.text].join('\n'), token), [])
  }

  t.test('the headers keep all other parts if the token is removed', async (t) => {
    const seen: unknown[] = []
    const app = await spy(t, {
      plugin: { handshakeTimeout: 1000 },
      routes: (app) => app.addHook('preHandler', async ({ headers, cookies }) => { seen.push(headers.cookie, cookies, headers['sec-websocket-protocol'], headers.authorization) })
    })
    const cookie = `a=1; token=${token};b="2";  c = 3`
    await send(t, app, { path: '/accepted', headers: { cookie, 'sec-websocket-protocol': 'chat, superchat' } })
    t.same(seen.splice(0), ['a=1;b="2";  c = 3', { a: '1', b: '"2"', c: '3' }, 'chat, superchat', undefined])
    await send(t, app, { path: '/accepted', headers: { 'sec-websocket-protocol': `chat, bearer, ${token}, superchat`, authorization: 'Basic eDp5' } })
    t.same(seen.splice(0), [undefined, {}, 'chat, bearer, superchat', 'Basic eDp5'])
  })
})

// A # ends the path only where no ? came before it, so this is no token. It is in the URL, and so in the log.
t.test('a token in a fragment behind a query leaves no trace', async (t) => {
  const token = sign({ sub: 'canary' })
  for (const path of [`/accepted?a=1#token=${token}`, `/accepted?a=1&b#a&token=${token}`, `/accepted?#token=${token}`]) {
    const app = await spy(t, {})
    const answer = await send(t, app, { path })
    t.same(traces([...app.log, answer.text].join('\n'), token), [], path.replace(token, '<token>'))
  }
})

t.test('a token under the name of another route leaves no trace', async (t) => {
  const token = sign({ sub: 'canary' })
  const app = await spy(t, {
    routes: (app) => {
      app.get('/other', { websocket: true, wsAuth: { token: { query: 'jwt', subprotocol: 'auth' } } }, (socket) => { socket.send('hello') })
    }
  })
  for (const path of ['/other', '/accepted', '/nowhere', '/http', '/public', '/%zz']) {
    app.seen.length = app.log.length = 0
    const answers = [
      await send(t, app, { path: `${path}?jwt=${token}&a=1` }),
      await send(t, app, { path, headers: { 'sec-websocket-protocol': `auth, ${token}, chat` } })
    ]
    t.same(traces([...app.log, ...app.seen, ...answers.map(({ text }) => text)].join('\n'), token), [], path)
  }
})

t.test('an upgrade of no websocket route leaves no trace of a token in a header or cookie of any route', async (t) => {
  const token = sign({ sub: 'canary' })
  for (const isCustom of [false, true]) {
    const app = await spy(t, {
      isCustom,
      routes: (app) => {
        app.get('/other', { websocket: true, wsAuth: { token: { header: 'x-jwt', cookie: 'jwt' } } }, (socket) => { socket.send('hello') })
      }
    })
    for (const path of ['/nowhere', '/http']) {
      app.seen.length = app.log.length = 0
      const answers = [
        await send(t, app, { path, headers: { 'x-jwt': token } }),
        await send(t, app, { path, headers: { cookie: `a=1; jwt=${token}; b=2` } }),
        await send(t, app, { path, headers: { 'x-jwt': token, authorization: `Bearer ${token}`, cookie: `token=${token}; jwt=${token}` } })
      ]
      t.strictSame(answers.map(({ status }) => status), [404, 404, 404])
      t.ok(app.seen.length > 0, 'later hooks have seen the requests')
      t.same(traces([...app.log, ...app.seen, ...answers.map(({ text }) => text)].join('\n'), token), [], path)
    }
  }
})

t.test('a dry run leaves no trace of a token in a header or cookie', async (t) => {
  const token = sign({ sub: 'canary' })
  for (const isCustom of [false, true]) {
    const app = await spy(t, { isCustom })
    for (const [path, status] of [['/accepted', 426], ['/forbidden', 403], ['/failing', 503], ['/late', 503]] as const) {
      for (const headers of [{ authorization: `Bearer ${token}` }, { cookie: `a=1; token=${token}` }]) {
        app.seen.length = app.log.length = 0
        const client = await RawClient.open(t, app.port)
        t.equal((await client.send(plainText({ path, headers })).response()).status, status)
        // The dry run is made where the handshake is: before the `preValidation` hooks of the app.
        t.same(traces([...app.log, ...app.seen, client.text].join('\n'), token), [])
      }
    }
  }
})

t.test('a dry run shows the token of a query to no hook', async (t) => {
  const token = sign({ sub: 'canary' })
  const app = await spy(t, { isCustom: true })
  for (const path of [`/accepted?a=1&token=${token}&b=2`, `/forbidden?tok%65n=${token}`, `/failing?token=${token}`]) {
    app.seen.length = 0
    const client = await RawClient.open(t, app.port)
    await client.send(plainText({ path })).response()
    t.ok(app.seen.length > 0)
    t.same(traces([...app.seen, client.text].join('\n'), token), [], path.replace(token, '<token>'))
  }
})

t.test('injectWS leaves no trace', async (t) => {
  const token = sign({ sub: 'canary' })
  const { app, log } = await prepare(t, { routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
  const socket = await app.injectWS(`/chat?token=${token}`)
  socket.terminate()
  await t.rejects(app.injectWS(`/nowhere?token=${token}`))
  t.same(traces(log.join(''), token), [])
})

t.test('the headers of Node have no trace of a token', async (t) => {
  const token = sign({ sub: 'canary' })
  const cookie = `a=1; token=${token}`
  for (const [source, headers] of Object.entries({ header: { authorization: `Bearer ${token}` }, cookie: { cookie }, subprotocol: { 'sec-websocket-protocol': `bearer, ${token}, chat` } })) {
    for (const isEarly of [false, true]) {
      t.test(`the headers of Node have no trace of a token in ${source}, ${isEarly ? 'if a hook has read them' : 'if no hook has read them'}`, async (t) => {
        const seen: string[] = []
        const { port } = await start(t, {
          before: (app) => app.addHook('onRequest', async ({ raw }) => { if (isEarly) Object.keys(raw.headersDistinct) }),
          routes: (app) => {
            app.addHook('preHandler', async ({ raw }) => { seen.push(inspect({ distinct: raw.headersDistinct, headers: raw.headers, raw: raw.rawHeaders, trailers: raw.trailersDistinct }, { depth: 5 })) })
            app.get('/chat', { websocket: true }, () => {})
          }
        })
        const client = await RawClient.open(t, port)
        // Node counts the headers when they come, and keeps what it made of them once it was asked.
        t.equal((await client.upgrade({ path: '/chat', headers }).response()).status, 101)
        t.equal(seen.length, 1)
        t.match(seen[0], 'sec-websocket-key')
        t.same(traces(seen.join('\n'), token), [])
      })
    }
  }
})
