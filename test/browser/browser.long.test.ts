/*
 * What a page in a real browser is told: of each refusal, of each end of a connection, and of the protocol that was chosen.
 */
import t from 'tap'
import type { Test } from 'tap'
import type { Browser } from 'playwright-core'
import { redisBackplane } from '../../lib/backplane/redis/index'
import { WsAuthError } from '../../lib/base/errors'
import type fastifyWsAuth from '../../lib/index'
import { sign, start } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { addPage, eventually, openPage, openSocket, reasonToSkip, startBrowser } from '../helpers/browser'
import type { PageSocket } from '../helpers/browser'
import { base64url, seconds } from '../helpers/keys'
import { plainEvent } from '../helpers/plain-frames'
import { reasonToSkip as reasonToSkipRedis, startRedis } from '../helpers/redis'
import { statsOf } from '../helpers/stats'

/** A page cannot tell why: the browser shows each HTTP answer like this (RFC 6455, 7.1.5; WHATWG WebSockets, 4). */
const HIDDEN = ['error', 'close 1006 unclean']

interface Attempt {
  readonly path: string
  /** Goes as a subprotocol in a handshake, and in the header of a plain request. */
  readonly token?: string
  readonly protocols?: string[]
  /** What the page is told where the handshake is accepted and closed. */
  readonly close: string | null
}

function member (sub: string, claims: Record<string, unknown> = {}): string {
  return sign({ sub, roles: ['member'], ...claims })
}

/** What is refused with each of the codes. */
const ATTEMPTS: Record<fastifyWsAuth.WsAuthErrorCode, Attempt> = {
  WS_AUTH_TOKEN_MISSING: { path: '/chat', close: 'close 3000 token_missing clean' },
  WS_AUTH_TOKEN_INVALID: { path: '/chat', token: 'not.a.token', close: 'close 3000 token_invalid clean' },
  WS_AUTH_TOKEN_EXPIRED: { path: '/chat', token: member('ann', { exp: seconds(-60) }), close: 'close 3000 token_expired clean' },
  WS_AUTH_TOKEN_REVOKED: { path: '/chat', token: member('ann', { jti: 'stolen' }), close: 'close 3000 token_revoked clean' },
  WS_AUTH_TOKEN_AMBIGUOUS: { path: `/chat?token=${member('ann')}`, token: member('ann'), close: 'close 3000 token_ambiguous clean' },
  WS_AUTH_TICKET_INVALID: { path: '/chat?ticket=spent', close: 'close 3000 ticket_invalid clean' },
  WS_AUTH_FORBIDDEN: { path: '/chat', token: sign({ sub: 'guest' }), close: 'close 3003 forbidden clean' },
  WS_AUTH_ORIGIN_FORBIDDEN: { path: '/elsewhere', token: member('ann'), close: 'close 3003 origin_forbidden clean' },
  WS_AUTH_TIMEOUT: { path: '/first-message', close: 'close 3008 auth_timeout clean' },
  WS_AUTH_LIMIT: { path: '/chat', token: member('busy'), close: 'close 4429 connection_limit clean' },
  WS_AUTH_BUSY: { path: '/busy', token: member('ann'), close: 'close 4503 server_busy clean' },
  WS_AUTH_UNAVAILABLE: { path: '/down', token: member('ann'), close: 'close 4503 auth_unavailable clean' },
  // Nothing could be echoed of it: a browser would fail the connection, whatever was answered.
  WS_AUTH_HANDSHAKE_INVALID: { path: '/chat', protocols: [`base64url.bearer.${base64url(member('ann'))}`], close: null },
  WS_AUTH_ROUTE_NOT_WEBSOCKET: { path: '/', token: member('ann'), close: null },
  WS_AUTH_ROUTE_UNPROTECTED: { path: '/early', token: member('ann'), close: null }
}
const CODES = Object.keys(ATTEMPTS) as fastifyWsAuth.WsAuthErrorCode[]

/** An app that refuses for any reason; `busy` may have one connection, and has it. */
async function startRefusing (t: Test, browser: Browser, plugin: fastifyWsAuth.WsAuthOptions): Promise<StartedApp & { attempt: (attempt: Attempt) => Promise<PageSocket>, dryRun: (attempt: Attempt) => Promise<string> }> {
  const started = await start(t, {
    server: { forceCloseConnections: true },
    plugin: { tickets: true, limits: { perUser: 1 }, ...plugin },
    before: (app) => { app.get('/early', { websocket: true } as never, () => {}) },
    routes: (app) => {
      addPage(app)
      app.get('/chat', { websocket: true, wsAuth: { roles: ['member'] } }, () => {})
      app.get('/elsewhere', { websocket: true, wsAuth: { origin: ['https://other.example'] } }, () => {})
      app.get('/first-message', { websocket: true, wsAuth: { token: { message: { timeout: 100 } } } }, () => {})
      app.get('/busy', { websocket: true, wsAuth: { authorize: () => { throw new WsAuthError('WS_AUTH_BUSY') } } }, () => {})
      app.get('/down', { websocket: true, wsAuth: { authorize: () => { throw new Error('no database') } } }, () => {})
    }
  })
  const host = `127.0.0.1:${started.port}`
  const page = await openPage(t, browser, `http://${host}/`)
  await started.app.wsAuth.revoke({ jti: 'stolen' })
  const busy = await openSocket(page, `ws://${host}/chat`, ['bearer', member('busy')])
  await busy.told('open')
  return {
    ...started,
    attempt: ({ path, token, protocols = token === undefined ? [] : ['bearer', token] }) => openSocket(page, `ws://${host}${path}`, protocols),
    dryRun: ({ path, token }) => page.evaluate(async ([path, token]) => {
      const response = await fetch(path, { headers: token === undefined ? {} : { authorization: `Bearer ${token}` } })
      return `${response.status} ${(await response.json() as { code: string }).code}`
    }, [path, token] as const)
  }
}

/** Each attempt at once: what the page is told of it, by code. */
async function attemptAll (attempt: (attempt: Attempt) => Promise<PageSocket>): Promise<Record<string, string[]>> {
  return Object.fromEntries(await Promise.all(CODES.map(async (code) => [code, await (await attempt(ATTEMPTS[code])).closed()] as const)))
}

t.test('a browser gets each refusal, close code and subprotocol as documented', { skip: reasonToSkip() }, async (t) => {
  const browser = await startBrowser(t)
  t.jobs = 3

  t.test('a browser sees a refusal with a status as 1006 without a reason, and a dry run gives its code', { buffered: true }, async (t) => {
    const { app, attempt, dryRun } = await startRefusing(t, browser, { rejectWith: 'http' })
    const told = await attemptAll(attempt)
    t.same(told, Object.fromEntries(CODES.map((code) =>
      // Who is to send a first message is let in before.
      [code, code === 'WS_AUTH_TIMEOUT' ? ['open', 'close 3008 auth_timeout clean'] : HIDDEN])))
    t.same(statsOf(app).refused, Object.fromEntries(CODES.map((code) => [code, 1])))
    t.equal(app.wsAuth.connections.size, 1)

    const told401 = ['WS_AUTH_TOKEN_MISSING', 'WS_AUTH_TOKEN_INVALID', 'WS_AUTH_TOKEN_EXPIRED', 'WS_AUTH_TOKEN_REVOKED', 'WS_AUTH_TICKET_INVALID'] as const
    for (const code of told401) t.equal(await dryRun(ATTEMPTS[code]), `401 ${code}`)
    t.equal(await dryRun(ATTEMPTS.WS_AUTH_TOKEN_AMBIGUOUS), '400 WS_AUTH_TOKEN_AMBIGUOUS')
    t.equal(await dryRun(ATTEMPTS.WS_AUTH_FORBIDDEN), '403 WS_AUTH_FORBIDDEN')
    t.equal(await dryRun(ATTEMPTS.WS_AUTH_LIMIT), '429 WS_AUTH_LIMIT')
    t.equal(await dryRun(ATTEMPTS.WS_AUTH_BUSY), '503 WS_AUTH_BUSY')
    t.equal(await dryRun(ATTEMPTS.WS_AUTH_UNAVAILABLE), '503 WS_AUTH_UNAVAILABLE')
    t.equal(await dryRun({ path: '/chat', token: member('ann'), close: null }), '426 undefined', 'which would have been accepted')
  })

  for (const rejectWith of ['close', 'auto'] as const) {
    t.test(`a browser sees the code and the reason of each refusal that has a close code, with rejectWith '${rejectWith}'`, { buffered: true }, async (t) => {
      const { app, attempt } = await startRefusing(t, browser, { rejectWith })
      const told = await attemptAll(attempt)
      t.same(told, Object.fromEntries(CODES.map((code) => {
        const { close } = ATTEMPTS[code]
        return [code, close === null ? HIDDEN : ['open', close]]
      })))
      t.same(statsOf(app).refused, Object.fromEntries(CODES.map((code) => [code, 1])))
      t.equal(app.wsAuth.connections.size, 1)
    })
  }

  t.test('a browser sees the close codes that the app has chosen', { buffered: true }, async (t) => {
    const closeCodes = { unauthorized: 4401, forbidden: 4403, timeout: 4408, limit: 4999, unavailable: 1008 }
    const { app, attempt } = await startRefusing(t, browser, { rejectWith: 'close', closeCodes })
    const own: Record<string, string> = { 3000: '4401', 3003: '4403', 3008: '4408', 4429: '4999', 4503: '1008' }
    const told = await attemptAll(attempt)
    for (const code of CODES) {
      const { close } = ATTEMPTS[code]
      t.same(told[code], close === null ? HIDDEN : ['open', close.replace(/\d+/, (digits) => own[digits] ?? '')])
    }
    const [revoked, disconnected] = [await attempt({ path: '/chat', token: member('ann'), close: null }), await attempt({ path: '/chat', token: member('bea'), close: null })]
    await Promise.all([revoked.told('open'), disconnected.told('open')])
    await app.wsAuth.revoke({ sub: 'ann' })
    await app.wsAuth.disconnect({ sub: 'bea' })
    t.same(await revoked.closed(), ['open', 'close 4401 token_revoked clean'])
    t.same(await disconnected.closed(), ['open', 'close 4403 disconnected clean'])
  })

  t.test('a browser sees the code and the reason of each end of a connection', { buffered: true }, async (t) => {
    const { app, port } = await start(t, {
      server: { forceCloseConnections: true },
      plugin: { limits: { perUser: 1, onLimit: 'close-oldest' }, websocket: { options: { maxPayload: 1024 } } },
      routes: (app) => {
        addPage(app)
        app.get('/chat', { websocket: true }, (socket) => {
          socket.on('message', (data) => {
            if (String(data) === 'terminate') socket.terminate()
            else if (String(data) === 'close') socket.close(4001, 'own')
            else socket.send(String(data))
          })
        })
        app.get('/brief', { websocket: true, wsAuth: { maxLifetime: 300 } }, () => {})
      }
    })
    const page = await openPage(t, browser, `http://127.0.0.1:${port}/`)
    const connect = async (sub: string, claims: Record<string, unknown> = {}, path = '/chat'): Promise<PageSocket> => {
      const socket = await openSocket(page, `ws://127.0.0.1:${port}${path}`, ['bearer', sign({ sub, ...claims })])
      await socket.told('open')
      return socket
    }
    const ends = async (socket: PageSocket, close: string): Promise<void> => { t.same(await socket.closed(), ['open', close]) }

    const expiring = await connect('expiring', { exp: seconds(6) })
    const brief = await connect('brief', {}, '/brief')
    const [revoked, disconnected, told, restarting, loud, own, lost, going, last] =
      [await connect('ann'), await connect('bea'), await connect('cas'), await connect('dan'), await connect('eve'), await connect('fay'), await connect('gus'), await connect('hal'), await connect('last')]
    const oldest = await connect('twice')
    await connect('twice')
    await ends(oldest, 'close 3003 connection_replaced clean')

    await app.wsAuth.revoke({ sub: 'ann' })
    await ends(revoked, 'close 3000 token_revoked clean')
    await app.wsAuth.disconnect({ sub: 'bea' })
    await ends(disconnected, 'close 3003 disconnected clean')
    // 123 bytes are the most that a reason may have.
    const reason = 'é'.repeat(61)
    await app.wsAuth.disconnect({ sub: 'cas' }, { code: 4999, reason })
    await ends(told, `close 4999 ${reason} clean`)
    await app.wsAuth.disconnect({ sub: 'dan' }, { code: 1012, reason: 'service restart' })
    await ends(restarting, 'close 1012 service restart clean')
    await loud.send('x'.repeat(1025))
    // ws does not wait for the answer to it: whether Chromium could send that first is chance.
    t.match((await loud.closed()).join(), /^open,close 1009 (?:un)?clean$/)
    await own.send('close')
    await ends(own, 'close 4001 own clean')
    await lost.send('terminate')
    // An error too, where it was a reset.
    t.match((await lost.closed()).join(), /^open,(?:error,)?close 1006 unclean$/)
    await going.close(3001, 'bye')
    await ends(going, 'close 3001 bye clean')
    await ends(brief, 'close 3000 lifetime_exceeded clean')
    await ends(expiring, 'close 3000 token_expired clean')
    // 1007 is out of reach: what is no Unicode, a browser sends as U+FFFD.
    await last.send('\uD800')
    await last.told('message \uFFFD')
    await eventually(() => statsOf(app).connections === 2, 'the others are gone')
    t.same(statsOf(app).closed, {
      connection_replaced: 1, token_revoked: 1, disconnected: 3, error: 1, app: 2, client: 1, lifetime_exceeded: 1, token_expired: 1
    })
    await app.close()
    t.same(await last.closed(), ['open', 'message \uFFFD', 'close 1001 shutdown clean'])
  })

  t.test('an outage of the backplane closes a connection with 4503, and refuses a client that reconnects with the same', { buffered: true, skip: reasonToSkipRedis() }, async (t) => {
    const redis = await startRedis(t)
    const { app, port } = await start(t, {
      server: { forceCloseConnections: true },
      plugin: { rejectWith: 'auto', backplane: redisBackplane({ client: redis.client(), staleAfter: 2000 }) },
      routes: (app) => {
        addPage(app)
        app.get('/chat', { websocket: true }, () => {})
      }
    })
    const page = await openPage(t, browser, `http://127.0.0.1:${port}/`)
    const connect = (): Promise<PageSocket> => openSocket(page, `ws://127.0.0.1:${port}/chat`, ['bearer', sign()])
    const socket = await connect()
    await socket.told('open')
    redis.pause()
    t.same(await socket.closed(), ['open', 'close 4503 auth_unavailable clean'])
    t.same(await (await connect()).closed(), ['open', 'close 4503 auth_unavailable clean'])
    redis.resume()
    await eventually(async () => {
      await (await connect()).settled()
      return statsOf(app).accepted > 1
    }, 'it is let in again')
  })

  t.test('a browser sends a token in the subprotocol, and gets back a subprotocol that is not the token', { buffered: true }, async (t) => {
    // As opaque as a token can be (visible ASCII): it may not stand in a list of protocols as it is.
    const OPAQUE = 'a/token;with"all=kinds",of@characters'
    const { app, port } = await start(t, {
      server: { forceCloseConnections: true },
      plugin: {
        rejectWith: 'auto',
        verify: (token) => token === OPAQUE || token === 'opaque' ? { sub: 'ann' } : null,
        token: { cookie: false }
      },
      routes: (app) => {
        addPage(app)
        app.get('/chat', { websocket: true }, (socket, { headers }) => { socket.send(`offered ${headers['sec-websocket-protocol']}`) })
        app.get('/http', { websocket: true, wsAuth: { rejectWith: 'http' } }, () => {})
      }
    })
    const page = await openPage(t, browser, `http://127.0.0.1:${port}/`)
    const devTools = await page.context().newCDPSession(page)
    await devTools.send('Network.enable')
    const answers: string[] = []
    devTools.on('Network.webSocketHandshakeResponseReceived', ({ response }) => { answers.push(`${response.status} ${JSON.stringify(response.headers)} ${response.headersText}`) })
    const requests: string[] = []
    app.server.prependListener('upgrade', ({ headers }) => { requests.push(String(headers['sec-websocket-protocol'])) })
    const connect = (protocols: string[], path = '/chat'): Promise<PageSocket> => openSocket(page, `ws://127.0.0.1:${port}${path}`, protocols)

    const encoded = `base64url.bearer.${base64url(OPAQUE)}`
    const accepted = [
      [['bearer', 'opaque'], 'bearer'],
      [['chat', 'bearer', 'opaque'], 'chat'],
      [['bearer', 'opaque', 'chat', 'chat.v2'], 'chat'],
      [['chat', encoded], 'chat'],
      [[encoded, 'chat'], 'chat']
    ] as const
    for (const [protocols, chosen] of accepted) {
      const socket = await connect([...protocols])
      await socket.told('message')
      t.equal(await socket.protocol(), chosen)
      const [, offered = ''] = await socket.events()
      t.notMatch(offered, /opaque|base64url/, 'the handler is not shown it either')
    }
    const refused = await connect(['chat', 'bearer', 'wrong-token'])
    t.same(await refused.closed(), ['open', 'close 3000 token_invalid clean'])
    t.equal(await refused.protocol(), 'chat')
    t.same(await (await connect(['bearer', 'wrong-token'], '/http')).closed(), HIDDEN)
    // DevTools show what accepted a handshake, and of a refusal with a status as little as the page sees.
    await eventually(async () => answers.length === accepted.length + 1, 'all answers have been seen')
    for (const answer of answers) t.notMatch(answer, /opaque|base64url|wrong-token/i)
    t.match(answers.at(-1), /^101 .*"Sec-WebSocket-Protocol":"chat"/i)
    t.equal(requests.length, accepted.length + 2)

    // A page that does not encode such a token learns of it before anything is sent.
    for (const protocols of [['bearer', OPAQUE], ['bearer', 'with space'], ['bearer', 'a,b'], ['bearer', ''], ['bearer', 'bearer']]) {
      await t.rejects(connect(protocols), { message: /SyntaxError: Failed to construct 'WebSocket'/ }, protocols.join())
    }
    t.equal(requests.length, accepted.length + 2)
  })

  t.test('a page cannot set the Authorization header, and a user or password in the URL does not replace it', { buffered: true }, async (t) => {
    const { app, port } = await start(t, {
      server: { forceCloseConnections: true },
      plugin: { rejectWith: 'auto' },
      routes: (app) => {
        addPage(app)
        app.get('/chat', { websocket: true }, () => {})
        app.get('/http', { websocket: true, wsAuth: { rejectWith: 'http' } }, () => {})
      }
    })
    const sent: Array<string | undefined> = []
    app.server.prependListener('upgrade', ({ headers }) => { sent.push(headers.authorization) })
    const page = await openPage(t, browser, `http://127.0.0.1:${port}/`)
    const attempt = page.evaluate(([url, settings]) => { Reflect.construct(globalThis.WebSocket, [url, settings]) },
      [`ws://127.0.0.1:${port}/chat`, { headers: { authorization: `Bearer ${sign()}` } }] as const)
    // Where it takes such settings, it does not take that header.
    await attempt.catch(() => {})
    // What stands before the host of a URL is no token, wherever the browser sends it.
    t.same(await (await openSocket(page, `ws://${sign()}@127.0.0.1:${port}/chat`)).closed(), ['open', 'close 3000 token_missing clean'])
    t.same(await (await openSocket(page, `ws://user:${sign()}@127.0.0.1:${port}/http`)).closed(), HIDDEN)
    for (const header of sent) t.notMatch(String(header), /^Bearer/i)
    t.ok(sent.length >= 2)
    t.equal(statsOf(app).accepted, 0)
  })

  t.test('a browser authenticates by a first message', { buffered: true }, async (t) => {
    const { app, port } = await start(t, {
      server: { forceCloseConnections: true },
      plugin: { renewal: true, token: { message: true } },
      routes: (app) => {
        addPage(app)
        app.get('/chat', { websocket: true }, (socket, { user }) => { socket.on('message', (data) => socket.send(`${(user as { sub: string }).sub}: ${data}`)) })
      }
    })
    const page = await openPage(t, browser, `http://127.0.0.1:${port}/`)
    const begin = (firstMessage: string): Promise<PageSocket> => openSocket(page, `ws://127.0.0.1:${port}/chat`, [], firstMessage)
    const exp = seconds(60)

    const good = await begin(JSON.stringify({ type: 'auth', token: sign({ sub: 'ann', exp }) }))
    await good.send('hello')
    await good.told('message ann')
    t.same((await good.events()).map(plainEvent), ['open', `message {"type":"auth.ok","expiresAt":${exp * 1000}}`, 'message ann: hello'])
    // A lone surrogate becomes another character on its way, and so no token is good for two.
    for (const message of [JSON.stringify({ type: 'auth', token: 'wrong' }), 'hello', '{"type":"auth"}', `{"type":"auth","token":"${sign()}\uD800"}`]) {
      t.same(await (await begin(message)).closed(), ['open', 'close 3000 token_invalid clean'])
    }
    t.match((await (await begin('x'.repeat(8193))).closed()).join(), /^open,close 1009 (?:un)?clean$/)
    t.equal(app.wsAuth.connections.size, 1)
  })

  t.test('a browser with compression sends and gets the same frames, and a small frame that inflates too far closes with 1009', { buffered: true }, async (t) => {
    const { app, port } = await start(t, {
      server: { forceCloseConnections: true },
      plugin: { renewal: true, token: { message: true }, websocket: { options: { perMessageDeflate: { threshold: 0 }, maxPayload: 4 * 1024 * 1024 } } },
      routes: (app) => {
        addPage(app)
        app.get('/chat', { websocket: true }, (socket) => {
          socket.on('message', (data) => { socket.send(`${String(data).length} ${String(data).slice(0, 20)}`) })
        })
      }
    })
    const page = await openPage(t, browser, `http://127.0.0.1:${port}/`)
    const begin = (firstMessage: string): Promise<PageSocket> => openSocket(page, `ws://127.0.0.1:${port}/chat`, [], firstMessage)
    const [before, after] = [seconds(60), seconds(120)]

    const socket = await begin(JSON.stringify({ type: 'auth', token: sign({ sub: 'ann', exp: before }) }))
    await socket.told('message')
    t.match(await socket.extensions(), /^permessage-deflate/)
    // Before it had authenticated it could not have sent as much.
    await socket.send('x'.repeat(3 * 1024 * 1024))
    await socket.told('message 3145728')
    await socket.send(JSON.stringify({ type: 'auth', token: sign({ sub: 'ann', exp: after }) }))
    await socket.told('message {"type":"auth.ok"', 2)
    await socket.send(JSON.stringify({ type: 'auth', token: 'wrong' }))
    await socket.told('message {"type":"auth.error"')
    t.same((await socket.events()).map(plainEvent), [
      'open', `message {"type":"auth.ok","expiresAt":${before * 1000}}`, `message 3145728 ${'x'.repeat(20)}`,
      `message {"type":"auth.ok","expiresAt":${after * 1000}}`, 'message {"type":"auth.error","code":"WS_AUTH_TOKEN_INVALID"}'
    ])

    // A hundred bytes on the wire, and three million when they are read.
    const bomb = await begin(`{"type":"auth","token":"${'x'.repeat(3 * 1024 * 1024)}"}`)
    t.match((await bomb.closed()).join(), /^open,close 1009 (?:un)?clean$/)
    await socket.send('x'.repeat(5 * 1024 * 1024))
    await socket.told('close 1009')
    await eventually(() => app.wsAuth.connections.size === 0, 'both are gone')
  })
})
