/*
 * Renewal: what is accepted, what is refused, what changes and when, and what a client can do with it that was not meant.
 */
import { once } from 'node:events'
import fastifyJwt from '@fastify/jwt'
import type { FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { OpenConnection } from '../../lib/connection/open-connection'
import type { ConnectionHost } from '../../lib/connection/open-connection'
import { Sweep } from '../../lib/connection/sweep'
import fastifyWsAuth from '../../lib/index'
import { SECRET, sign, start } from '../helpers/app'
import { keys, mint } from '../helpers/keys'
import { clientFrame, RawClient, upgrade } from '../helpers/raw-client'
import { eventually, hold, moveClock, startChat, turn } from '../helpers/renewal-app'
import type { Chat } from '../helpers/renewal-app'

type Claims = Record<string, unknown>

const NOW = Math.floor(Date.now() / 1000)
const PRESENT = { sub: 'ann', iss: 'here', iat: NOW - 10, exp: NOW + 600, roles: ['member'], scope: 'chat' }
const NEWER = { ...PRESENT, iat: NOW - 5, exp: NOW + 900, n: 1 }

function without (claims: Claims, ...names: string[]): Claims {
  return Object.fromEntries(Object.entries(claims).filter(([name]) => !names.includes(name)))
}

/** What a renewal may change. */
function stateOf ({ connection, request }: Chat, decorator = 'user'): object {
  const { id, user, claims, source, sub, openedAt, expiresAt } = connection
  return { id, user, claims, source, sub, openedAt, expiresAt, requestUser: request.user, decorated: (request as unknown as Claims)[decorator] }
}

/** Renews by either way, and answers with the code of the refusal or with `null`. */
const WAYS: Record<string, (chat: Chat, token: string) => Promise<string | null>> = {
  'request.wsAuth.renew': async (chat, token) => {
    try {
      const user = await chat.connection.renew(token)
      return user === chat.connection.user ? null : 'another user was answered'
    } catch (error) {
      return error instanceof fastifyWsAuth.WsAuthError ? error.code : String(error)
    }
  },
  'an auth frame': async (chat, token) => {
    const answer = await chat.renewByFrame(token)
    if (answer.type !== 'auth.ok') return answer.type === 'auth.error' && Object.keys(answer).length === 2 ? answer.code as string : JSON.stringify(answer)
    return Object.keys(answer).length === 2 && answer.expiresAt === chat.connection.expiresAt ? null : JSON.stringify(answer)
  }
}

/** What is present, what is to come, and the code that it is refused with. */
const CASES: Array<[name: string, present: Claims, next: Claims | string, code: string | null]> = [
  ['a newer token', PRESENT, NEWER, null],
  ['the same token', PRESENT, PRESENT, null],
  ['another token as old', PRESENT, { ...PRESENT, jti: 'other' }, null],
  ['a newer token without exp', PRESENT, without(NEWER, 'exp'), null],
  ['a token without exp for one without', without(PRESENT, 'exp'), without(NEWER, 'exp'), null],
  ['a token with exp for one without', without(PRESENT, 'exp'), NEWER, 'WS_AUTH_TOKEN_INVALID'],
  ['a token with exp for one without, of the end of times', without(PRESENT, 'exp'), { ...NEWER, exp: 1e300 }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token with iat for one without', without(PRESENT, 'iat'), NEWER, null],
  ['a token without iat for one with', PRESENT, without(NEWER, 'iat'), 'WS_AUTH_TOKEN_INVALID'],
  ['a token without iat for one without', without(PRESENT, 'iat'), without(NEWER, 'iat'), null],
  ['a token with an iat before the epoch for one without', without(PRESENT, 'iat'), { ...NEWER, iat: -1e300 }, null],
  ['a token that was issued a second before', PRESENT, { ...NEWER, iat: PRESENT.iat - 1 }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token that was issued a hair before', PRESENT, { ...NEWER, iat: PRESENT.iat - 0.001 }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token that expires a second before', PRESENT, { ...NEWER, exp: PRESENT.exp - 1 }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token that expires later and was issued before', PRESENT, { ...NEWER, iat: PRESENT.iat - 1, exp: PRESENT.exp + 1e6 }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token of somebody else', PRESENT, { ...NEWER, sub: 'bob' }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token of the same name in other letters', PRESENT, { ...NEWER, sub: 'Ann' }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token of an empty sub', PRESENT, { ...NEWER, sub: '' }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token of nobody', PRESENT, without(NEWER, 'sub'), 'WS_AUTH_TOKEN_INVALID'],
  ['a token of somebody for nobody\'s', without(PRESENT, 'sub'), NEWER, 'WS_AUTH_TOKEN_INVALID'],
  ['a token of nobody for nobody\'s', without(PRESENT, 'sub'), without(NEWER, 'sub'), 'WS_AUTH_TOKEN_INVALID'],
  ['a token whose sub is null', without(PRESENT, 'sub'), { ...NEWER, sub: null }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token whose sub is a list', PRESENT, { ...NEWER, sub: ['ann'] }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token of another issuer', PRESENT, { ...NEWER, iss: 'there' }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token of no issuer', PRESENT, without(NEWER, 'iss'), 'WS_AUTH_TOKEN_INVALID'],
  ['a token of an issuer for one of none', without(PRESENT, 'iss'), NEWER, 'WS_AUTH_TOKEN_INVALID'],
  ['a token of no issuer for one of none', without(PRESENT, 'iss'), without(NEWER, 'iss'), null],
  ['a token whose iss is a list', PRESENT, { ...NEWER, iss: ['here'] }, 'WS_AUTH_TOKEN_INVALID'],
  ['an expired token', { ...PRESENT, exp: NOW + 600 }, { ...NEWER, exp: NOW - 1 }, 'WS_AUTH_TOKEN_EXPIRED'],
  ['a token that is not valid yet', PRESENT, { ...NEWER, nbf: NOW + 3600 }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token of the future', PRESENT, { ...NEWER, iat: NOW + 7200 }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token with another signature', PRESENT, sign(NEWER, 'x'.repeat(32)), 'WS_AUTH_TOKEN_INVALID'],
  ['a token with no signature', PRESENT, `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from(JSON.stringify(NEWER)).toString('base64url')}.`, 'WS_AUTH_TOKEN_INVALID'],
  ['half a token', PRESENT, sign(NEWER).slice(0, 40), 'WS_AUTH_TOKEN_INVALID'],
  ['no token at all', PRESENT, '', 'WS_AUTH_TOKEN_INVALID'],
  ['a token that is too long', PRESENT, { ...NEWER, long: 'x'.repeat(8192) }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token of a user who lost the role', PRESENT, { ...NEWER, roles: ['guest'] }, 'WS_AUTH_FORBIDDEN'],
  ['a token of a user without roles', PRESENT, without(NEWER, 'roles'), 'WS_AUTH_FORBIDDEN'],
  ['a token of a user who lost the scope', PRESENT, { ...NEWER, scope: 'mail' }, 'WS_AUTH_FORBIDDEN'],
  ['a token that authorize refuses', PRESENT, { ...NEWER, authorize: 'no' }, 'WS_AUTH_FORBIDDEN'],
  ['a token that authorize answers 1 to', PRESENT, { ...NEWER, authorize: 'one' }, 'WS_AUTH_FORBIDDEN'],
  ['a token at which authorize throws', PRESENT, { ...NEWER, authorize: 'throw' }, 'WS_AUTH_UNAVAILABLE'],
  ['a token that authorize refuses later', PRESENT, { ...NEWER, authorize: 'no, later' }, 'WS_AUTH_FORBIDDEN'],
  ['a token that authorize accepts later', PRESENT, { ...NEWER, authorize: 'yes, later' }, null],
  ['a token with claims of another shape', PRESENT, { ...NEWER, n: 'one' }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token of a user who was deleted', PRESENT, { ...NEWER, user: 'none' }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token at which user throws', PRESENT, { ...NEWER, user: 'throw' }, 'WS_AUTH_UNAVAILABLE']
]

function authorizeBy (user: Claims): boolean | Promise<boolean> {
  switch (user.authorize) {
    case 'no': return false
    case 'one': return 1 as unknown as boolean
    case 'throw': throw new Error('thrown by a test')
    case 'no, later': return turn().then(() => false)
    case 'yes, later': return turn().then(() => true)
  }
  return true
}

function userOf (claims: Claims): object | null {
  if (claims.user === 'throw') throw new Error('thrown by a test')
  return claims.user === 'none' ? null : { ...claims, isUser: true }
}

for (const [way, renew] of Object.entries(WAYS)) {
  t.test(`renewal by ${way}`, async (t) => {
    const { app, connect } = await startChat(t, {
      plugin: { renewal: true, user: userOf, claims: { type: 'object', properties: { n: { type: 'number' }, filled: { default: 'in' } } } },
      wsAuth: { roles: ['member'], scopes: ['chat'], authorize: (user) => authorizeBy(user as Claims) }
    })
    for (const [name, present, next, code] of CASES) {
      await t.test(`${code === null ? 'accepts' : 'refuses'} ${name}`, async (t) => {
        const chat = await connect(sign(present))
        const before = stateOf(chat)
        t.equal(await renew(chat, typeof next === 'string' ? next : sign(next)), code)
        const user = { ...next as object, isUser: true }
        const exp = (next as Claims).exp as number | undefined
        const after = { ...before, user, requestUser: user, decorated: user, claims: next, expiresAt: exp === undefined ? null : exp * 1000 }
        t.strictSame(stateOf(chat), code === null ? after : before)
        t.equal(chat.request.user, chat.connection.user)
        t.ok(Object.isFrozen(chat.connection.claims) && Object.isFrozen(chat.connection.user))
        t.equal(app.wsAuth.connections.get(chat.connection.id), chat.connection)
        t.strictSame(app.wsAuth.connections.bySub(String(present.sub)).length, present.sub === undefined ? 0 : 1)
        t.ok(await chat.isHeard(), 'it is open')
        chat.client.close()
        await eventually(() => app.wsAuth.connections.size === 0, 'it is gone')
      })
    }
  })
}

t.test('a token that is no string is a TypeError and no refusal', async (t) => {
  const { app, connect } = await startChat(t)
  const { connection } = await connect(sign(PRESENT))
  for (const token of [undefined, null, 1, {}, [sign(NEWER)], Buffer.from(sign(NEWER)), Object(sign(NEWER))]) {
    await t.rejects(connection.renew(token as string), { constructor: TypeError, message: '"token" must be a string' })
  }
  t.strictSame(app.wsAuth.stats().refused, {})
})

t.test('an anonymous connection cannot become somebody\'s', async (t) => {
  for (const [way, renew] of Object.entries(WAYS)) {
    await t.test(`by ${way}`, async (t) => {
      const { app, connect } = await startChat(t, { wsAuth: 'optional', plugin: { renewal: true } })
      const chat = await connect(null)
      const before = stateOf(chat)
      for (const claims of [PRESENT, without(PRESENT, 'sub', 'iss'), { n: 1 }]) t.equal(await renew(chat, sign(claims)), 'WS_AUTH_TOKEN_INVALID')
      t.strictSame(stateOf(chat), before)
      t.strictSame([chat.connection.user, chat.request.user, chat.connection.expiresAt], [null, null, null])
      t.strictSame(app.wsAuth.connections.bySub('ann'), [])
      t.ok(await chat.isHeard())
    })
  }
})

t.test('after the close', async (t) => {
  const endings: Record<string, (chat: Chat, app: { close: () => Promise<undefined> }) => unknown> = {
    'by the app': ({ connection }) => { connection.close() },
    'by the app, with the socket': ({ socket }) => { socket.close() },
    'by the app, without a word': ({ socket }) => { socket.terminate() },
    'by the client': ({ client }) => { client.close() },
    'of the client\'s network': ({ client }) => { client.terminate() },
    'of the app': (_chat, app) => { void app.close() }
  }
  for (const [name, end] of Object.entries(endings)) {
    await t.test(`${name} a renewal is refused, at once and later`, async (t) => {
      const { app, connect } = await startChat(t, { plugin: { renewal: true } })
      const chat = await connect(sign(PRESENT))
      const before = stateOf(chat)
      end(chat, app)
      await eventually(() => app.wsAuth.connections.size === 0, 'it has ended')
      await t.rejects(chat.connection.renew(sign(NEWER)), { code: 'WS_AUTH_TOKEN_INVALID' })
      await eventually(() => chat.closed.code !== null, 'the client is closed')
      await eventually(() => chat.socket.readyState === chat.socket.CLOSED, 'the socket is closed')
      await t.rejects(chat.connection.renew(sign(NEWER)), { code: 'WS_AUTH_TOKEN_INVALID' })
      t.strictSame(stateOf(chat), before)
      t.equal(app.wsAuth.connections.size, 0)
      t.equal(app.wsAuth.stats().renewed, 0)
    })
  }

  t.test('an auth frame behind a close of the app is not answered', async (t) => {
    const { app, port } = await startChat(t, { plugin: { renewal: true } })
    const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign(PRESENT)}` } })
    await eventually(() => app.wsAuth.connections.size === 1, 'it is open')
    for (const connection of app.wsAuth.connections) connection.close(4000, 'enough')
    client.send(clientFrame(1, JSON.stringify({ type: 'auth', token: sign(NEWER) })))
    t.strictSame(await client.close(), { code: 4000, reason: 'enough' })
    client.send(clientFrame(8, Buffer.from([0x0f, 0xa0])))
    await client.ended
    t.equal(client.rest.length, 0)
    t.match(app.wsAuth.stats(), { renewed: 0, refused: {} })
  })
})

t.test('frames', async (t) => {
  const auth = { type: 'auth', token: sign(NEWER) }
  /** What is no auth frame, though it looks like one. */
  const others = [
    '{"type":"auth.foo"}', '{"type":"auth.ok","expiresAt":1}', '{"type":"auth.renew"}', '{"type":"authx"}', '{"type":"auth"', '{"Type":"auth","token":"x"}', '{"type":"auth","type":"x","token":"x"}',
    '[{"type":"auth","token":"x"}]', '{"type":"AUTH"}', '', '{', 'auth', '{"type":"auth"]'
  ]
  /** What is one, or begins as one, and has no token that is good. */
  const malformed = [
    '{"type":"auth"}', '{"type":"auth","token":1}', '{"type":"auth","token":null}', '{"type":"auth","token":["x"]}', '{"type":"auth","tok', '{"type":"auth",}',
    '{"type":"auth","token":"x"', '{"type":"auth"}x', '{"type":"auth"},', '{"type":"auth","token":"x"}{"type":"auth","token":"y"}',
    '{"type":"auth" ,"token":"x"}', '{ "type":"auth"}', '{"type": "auth"}', '{"token":"x","type":"auth"}', '{"type":"aut\\u0068","token":"x"}', '\ufeff{"type":"auth"}',
    '{"type":"auth","__proto__":{"token":"x"}}', '{"type":"auth","Token":"x"}', `{"type":"auth","token":"${'x'.repeat(20_000)}"}`
  ]

  t.test('that are none of ours reach the handler untouched', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true } })
    const chat = await connect(sign(PRESENT))
    for (const text of others) {
      chat.client.send(text)
      t.equal(await chat.next(), `got ${text}`)
    }
    t.strictSame(chat.got, others)
  })

  t.test('that are binary reach the handler, whatever they hold', async (t) => {
    const { app, connect } = await startChat(t, { plugin: { renewal: true } })
    const chat = await connect(sign(PRESENT))
    chat.client.send(Buffer.from(JSON.stringify(auth)))
    t.equal(await chat.next(), `got ${JSON.stringify(auth)}`)
    t.strictSame(chat.got, [`binary ${JSON.stringify(auth)}`])
    t.equal(app.wsAuth.stats().renewed, 0)
  })

  t.test('that are malformed are answered and never reach the handler', async (t) => {
    const { app, connect } = await startChat(t, { plugin: { renewal: true } })
    const chat = await connect(sign(PRESENT))
    const before = stateOf(chat)
    for (const text of malformed) {
      chat.client.send(text)
      t.equal(await chat.next(), '{"type":"auth.error","code":"WS_AUTH_TOKEN_INVALID"}', text.slice(0, 60))
    }
    t.strictSame(chat.got, [])
    t.strictSame(stateOf(chat), before)
    t.strictSame(app.wsAuth.stats().refused, { WS_AUTH_TOKEN_INVALID: malformed.length })
    t.ok(await chat.isHeard())
  })

  t.test('in which the token comes in pieces, with more beside it, or escaped', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true } })
    const chat = await connect(sign(PRESENT))
    const text = JSON.stringify(auth)
    chat.client.send(text.slice(0, 10), { fin: false })
    chat.client.send(text.slice(10, 50), { fin: false })
    chat.client.send(text.slice(50), { fin: true })
    t.match(await chat.next(), '"auth.ok"')
    chat.client.send(JSON.stringify({ ...auth, id: 7, more: { token: 'x' } }))
    t.match(await chat.next(), '"auth.ok"')
    chat.client.send(`{"type":"auth", "token" : "${[...auth.token].map((letter) => `\\u00${letter.charCodeAt(0).toString(16)}`).join('')}" }`)
    t.match(await chat.next(), '"auth.ok"')
    t.strictSame(chat.got, [])
  })

  t.test('with a good token and a lot beside it are not even parsed', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true } })
    const chat = await connect(sign(PRESENT))
    const before = stateOf(chat)
    chat.client.send(JSON.stringify({ type: 'auth', token: sign(NEWER), more: 'x'.repeat(10_000) }))
    t.equal(await chat.next(), '{"type":"auth.error","code":"WS_AUTH_TOKEN_INVALID"}')
    t.strictSame(stateOf(chat), before)
  })

  t.test('are seen by no listener of the app', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true } })
    const chat = await connect(sign(PRESENT))
    const seen: unknown[] = []
    chat.socket.once('message', (data) => seen.push(String(data)))
    chat.socket.prependListener('message', (data) => seen.push(String(data)))
    chat.socket.onmessage = ({ data }) => { seen.push(String(data)) }
    chat.socket.addEventListener('message', ({ data }) => { seen.push(String(data)) })
    t.equal((await chat.renewByFrame(sign(NEWER))).type, 'auth.ok')
    t.strictSame(seen, [])
    chat.client.send('hello')
    await chat.next()
    t.strictSame(seen, ['hello', 'hello', 'hello', 'hello'])
  })

  t.test('are the app\'s own where renewal is off, and its renewal by API goes on', async (t) => {
    for (const plugin of [{ renewal: false, token: { message: true } }, { renewal: false }, {}]) {
      const { connect } = await startChat(t, { plugin })
      const chat = await connect(sign(PRESENT))
      for (const text of [JSON.stringify(auth), ...malformed]) {
        chat.client.send(text)
        t.equal(await chat.next(), `got ${text}`)
      }
      t.equal(chat.connection.expiresAt, PRESENT.exp * 1000)
      await chat.connection.renew(sign(NEWER))
      t.equal(chat.connection.expiresAt, NEWER.exp * 1000)
    }
  })

  t.test('are ours by default where a first message may authenticate, also when it did not', async (t) => {
    const { connect } = await startChat(t, { plugin: { token: { message: true } } })
    const chat = await connect(sign(PRESENT))
    t.strictSame(await chat.renewByFrame(sign(NEWER)), { type: 'auth.ok', expiresAt: NEWER.exp * 1000 })
    t.equal(chat.connection.source, 'header')
    t.strictSame(chat.got, [])
  })

  t.test('of which only the first is ours where renewal is off beside a first message', async (t) => {
    for (const [renewal, answer] of [[false, `got ${JSON.stringify(auth)}`], [true, `{"type":"auth.ok","expiresAt":${NEWER.exp * 1000}}`]] as const) {
      const { port } = await startChat(t, { plugin: { renewal, token: { message: true } } })
      const client = await upgrade(t, port, { path: '/chat' })
      client.send(clientFrame(1, JSON.stringify({ type: 'auth', token: sign(PRESENT) })))
      t.equal(String((await client.frame()).payload), `{"type":"auth.ok","expiresAt":${PRESENT.exp * 1000}}`)
      client.send(clientFrame(1, JSON.stringify(auth)))
      t.equal(String((await client.frame()).payload), answer)
    }
  })

  t.test('behind the first message, in one chunk with it, are renewals too', async (t) => {
    const { app, port } = await startChat(t, { plugin: { token: { message: true } } })
    const client = await RawClient.open(t, port)
    const frames = [sign(PRESENT), sign(NEWER)].map((token) => clientFrame(1, JSON.stringify({ type: 'auth', token })))
    client.upgrade({ path: '/chat' })
    t.equal((await client.response()).status, 101)
    client.send(Buffer.concat([...frames, clientFrame(1, 'hello')]))
    const answers = [await client.frame(), await client.frame(), await client.frame()].map(({ payload }) => String(payload))
    t.strictSame(answers.slice().sort(), ['got hello', ...[PRESENT, NEWER].map(({ exp }) => `{"type":"auth.ok","expiresAt":${exp * 1000}}`)])
    t.equal(answers[0], `{"type":"auth.ok","expiresAt":${PRESENT.exp * 1000}}`)
    t.equal(app.wsAuth.stats().renewed, 1)
  })
})

/** Looks at something in every turn, between all steps that others make, until it is told to stop. */
function watch (look: () => unknown): () => Promise<unknown[]> {
  const seen = new Set<unknown>()
  const watching = { isOver: false }
  const ended = (async () => {
    while (!watching.isOver) {
      for (let i = 0; i < 50; i++) {
        seen.add(look())
        await Promise.resolve()
      }
      await turn()
    }
    seen.add(look())
  })()
  return async () => {
    watching.isOver = true
    await ended
    return [...seen]
  }
}

type Jwt = Parameters<typeof fastifyJwt>[1]

/** The ways in which an app may have its verifier, with the decorator that @fastify/jwt sets. */
const VERIFIERS: Record<string, { plugin?: fastifyWsAuth.WsAuthOptions, own?: Jwt, decorator?: string, token?: (claims: Claims) => string }> = {
  'the plugin\'s own @fastify/jwt': {},
  'a formatUser': { plugin: { jwt: { secret: SECRET, formatUser: (payload) => ({ ...payload as object, isFormatted: true }) as never } } },
  'a verifier cache': { plugin: { jwt: { secret: SECRET, verify: { cache: true } } } },
  'a tokenCache': { plugin: { tokenCache: { max: 10, ttl: 1000 } } },
  'RS256 and a tokenCache': { plugin: { jwt: { secret: { public: keys.RS256.public } as never }, tokenCache: { max: 10, ttl: 1000 } }, token: (claims) => mint(claims, {}, 'RS256') },
  RS256: { plugin: { jwt: { secret: { public: keys.RS256.public } as never } }, token: (claims) => mint(claims, {}, 'RS256') },
  'a secret function': { plugin: { jwt: { secret: (_request: unknown, _token: unknown, done: (error: null, key: string) => void) => { done(null, SECRET) } } } },
  'a secret function that takes its time': { plugin: { jwt: { secret: async () => { await turn(); return SECRET } } } },
  'the app\'s own @fastify/jwt': { own: { secret: SECRET } },
  'the app\'s own @fastify/jwt, by a secret function': { own: { secret: async () => { await turn(); return SECRET }, trusted: async () => { await turn(); return true } } },
  'the app\'s own @fastify/jwt, by another name': { own: { secret: async () => SECRET, decoratorName: 'somebody' }, decorator: 'somebody' },
  'the app\'s own @fastify/jwt, with a cache and formatUser': { own: { secret: SECRET, verify: { cache: true }, formatUser: (payload) => ({ ...payload as object, isFormatted: true }) as never } },
  'the app\'s own @fastify/jwt, of a namespace': { own: { secret: SECRET, namespace: 'chat', decoratorName: 'somebody' } as never, plugin: { jwtNamespace: 'chat' }, decorator: 'somebody' },
  'the app\'s own @fastify/jwt, which extracts tokens by itself': { own: { secret: SECRET, verify: { extractToken: () => 'x' } } },
  'a verify function': { plugin: { verify: async (token) => { await turn(); return { ...readPayload(token), isVerified: true } } } }
}

function readPayload (token: string): Claims {
  return JSON.parse(Buffer.from(String(token.split('.')[1]), 'base64url').toString()) as Claims
}

t.test('who a request is from changes at once, with all else, and only where it was accepted', async (t) => {
  for (const [name, { plugin = {}, own, decorator = 'user', token = sign }] of Object.entries(VERIFIERS)) {
    await t.test(`by ${name}`, async (t) => {
      let gate = hold()
      gate.release()
      const inAuthorize: unknown[] = []
      const chats: Chat[] = []
      const { connect } = await startChat(t, {
        plugin: { ...plugin, renewal: true, ...(own === undefined ? {} : { jwt: undefined as never }) },
        before: async (app) => { if (own !== undefined) await app.register(fastifyJwt, own) },
        wsAuth: {
          authorize: async (user, request) => {
            const [chat] = chats
            inAuthorize.push(chat === undefined ? null : stateOf({ ...chat, request }, decorator))
            await gate.wait()
            return (user as Claims).isAllowed !== false
          }
        }
      })
      const chat = await connect(token(PRESENT))
      chats.push(chat)
      t.strictSame(inAuthorize.splice(0), [null])
      const look = (): object => [chat.request.user, chat.connection.user, (chat.request as unknown as Claims)[decorator]]
      const steps: Array<[Claims, string | null]> = [
        [{ ...NEWER, isAllowed: false }, 'WS_AUTH_FORBIDDEN'],
        [{ ...NEWER, sub: 'bob' }, 'WS_AUTH_TOKEN_INVALID'],
        [without(NEWER, 'iat'), 'WS_AUTH_TOKEN_INVALID'],
        [{ ...NEWER, n: 2 }, null],
        [{ ...NEWER, n: 3, isAllowed: false }, 'WS_AUTH_FORBIDDEN'],
        [PRESENT, 'WS_AUTH_TOKEN_INVALID'],
        [{ ...NEWER, n: 4 }, null]
      ]
      for (const [claims, code] of steps) {
        for (const [way, renew] of Object.entries(WAYS)) {
          gate = hold()
          const before = stateOf(chat, decorator)
          const objects = look()
          const stop = watch(() => JSON.stringify(look()))
          const renewing = renew(chat, token(claims))
          if (code !== 'WS_AUTH_TOKEN_INVALID') await eventually(() => inAuthorize.length > 0, 'authorize is asked')
          chat.client.send('in between')
          await eventually(() => chat.got.includes('in between'), 'a message in between')
          chat.got.length = 0
          await eventually(() => chat.received.includes('got in between'), 'its answer')
          chat.received.splice(chat.received.indexOf('got in between'), 1)
          t.strictSame(stateOf(chat, decorator), before, 'nothing has changed yet')
          gate.release()
          t.equal(await renewing, code, `${JSON.stringify(claims)} by ${way}`)
          const seen = await stop()
          t.equal(seen.length, code === null && JSON.stringify(objects) !== JSON.stringify(look()) ? 2 : 1, 'there is one before and at most one after')
          t.strictSame(inAuthorize.splice(0), code === 'WS_AUTH_TOKEN_INVALID' ? [] : [before], 'authorize sees the old one')
          if (code !== null) {
            t.strictSame(stateOf(chat, decorator), before)
            continue
          }
          t.match(chat.connection.claims, claims)
          t.match(chat.connection.user, claims)
          t.equal(chat.request.user, chat.connection.user)
          if (decorator !== 'user') t.equal((chat.request as unknown as Claims)[decorator], chat.connection.user)
          t.equal(chat.connection.expiresAt, NEWER.exp * 1000)
        }
      }
      // A token is what it was when it comes to its connection a second time, and nobody else's.
      const other = await connect(token({ ...NEWER, n: 4 }))
      t.strictSame(other.connection.claims, chat.connection.claims)
      t.not(other.connection.claims, chat.connection.claims)
      t.not(other.connection.user, chat.connection.user)
    })
  }
})

t.test('a refused renewal leaves a user whom the app itself has set', async (t) => {
  const secrets = { 'a key': SECRET, 'a secret function': async () => { await turn(); return SECRET } }
  for (const [name, secret] of Object.entries(secrets)) {
    await t.test(`where the app's own @fastify/jwt has ${name}`, async (t) => {
      const { connect } = await startChat(t, {
        before: async (app) => { await app.register(fastifyJwt, { secret }) },
        plugin: { jwt: undefined as never, renewal: true },
        wsAuth: { authorize: (user) => (user as Claims).isAllowed !== false }
      })
      const chat = await connect(sign(PRESENT))
      const user = { sub: 'ann', row: 7 }
      chat.request.user = user as never
      const stop = watch(() => chat.request.user)
      for (const claims of [{ ...NEWER, isAllowed: false }, { ...NEWER, sub: 'bob' }, { ...NEWER, exp: 1 }]) await t.rejects(chat.connection.renew(sign(claims)))
      t.strictSame(await stop(), [user])
      await chat.connection.renew(sign(NEWER))
      t.equal(chat.request.user, chat.connection.user)
    })
  }
})

t.test('an accepted renewal beside a slow one that is refused stays', async (t) => {
  const gate = hold()
  let isSlow = true
  const { connect } = await startChat(t, {
    before: async (app) => { await app.register(fastifyJwt, { secret: async () => { if (isSlow) await gate.wait(); return SECRET } }) },
    plugin: { jwt: undefined as never, token: { message: true } },
    wsAuth: { authorize: (user) => (user as Claims).isAllowed !== false }
  })
  isSlow = false
  const chat = await connect(sign(PRESENT))
  isSlow = true
  const slow = chat.connection.renew(sign({ ...NEWER, isAllowed: false }))
  isSlow = false
  await chat.connection.renew(sign(NEWER))
  const after = stateOf(chat)
  gate.release()
  await t.rejects(slow, { code: 'WS_AUTH_FORBIDDEN' })
  t.strictSame(stateOf(chat), after)
  t.equal(chat.request.user, chat.connection.user)
})

/** Seconds from the start of the test, by the moved clock. */
function from (now: number): (seconds: number) => number {
  return (offset) => Math.floor(now / 1000) + offset
}

/** Nothing is closed for as long as it takes a message to come and go. */
async function isOpen (chat: Chat): Promise<boolean> {
  return await chat.isHeard() && chat.connection === chat.request.wsAuth
}

t.test('the deadline', async (t) => {
  await t.test('is the old one after a refusal, and the new one after success', async (t) => {
    const { app, connect } = await startChat(t, { plugin: { renewal: true }, wsAuth: { roles: ['member'] } })
    const clock = moveClock(t)
    const at = from(Date.now())
    const claims = { sub: 'ann', iat: at(0), exp: at(60), roles: ['member'] }
    const [refused, accepted] = [await connect(sign(claims)), await connect(sign(claims))]
    t.equal((await refused.renewByFrame(sign({ ...claims, exp: at(600), roles: [] }))).code, 'WS_AUTH_FORBIDDEN')
    t.equal((await refused.renewByFrame(sign({ ...claims, exp: at(600), sub: 'bob' }))).code, 'WS_AUTH_TOKEN_INVALID')
    t.strictSame(await accepted.renewByFrame(sign({ ...claims, exp: at(120) })), { type: 'auth.ok', expiresAt: at(120) * 1000 })
    clock.advance(58_000)
    t.ok(await isOpen(refused) && await isOpen(accepted))
    clock.advance(2500)
    await eventually(() => refused.closed.code !== null, 'the refused one is closed')
    t.strictSame(refused.closed, { code: 3000, reason: 'token_expired' })
    t.ok(await isOpen(accepted), 'the old deadline has passed')
    clock.advance(57_000)
    t.ok(await isOpen(accepted))
    clock.advance(3500)
    await eventually(() => accepted.closed.code !== null, 'the accepted one is closed')
    t.strictSame(accepted.closed, { code: 3000, reason: 'token_expired' })
    t.match(app.wsAuth.stats(), { connections: 0, renewed: 1, closed: { token_expired: 2 } })
    clock.exit()
  })

  await t.test('is never, after a renewal by a token that never expires', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true, maxLifetime: Infinity } })
    const clock = moveClock(t)
    const at = from(Date.now())
    const chat = await connect(sign({ sub: 'ann', exp: at(60) }))
    t.strictSame(await chat.renewByFrame(sign({ sub: 'ann' })), { type: 'auth.ok', expiresAt: null })
    for (let i = 0; i < 5; i++) clock.advance(86_400_000)
    t.ok(await isOpen(chat))
    clock.exit()
  })

  await t.test('never passes maxLifetime, however often it is renewed', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true, expiryGrace: 30_000 }, wsAuth: { maxLifetime: 100_100 } })
    const clock = moveClock(t)
    const at = from(Date.now())
    const chat = await connect(sign({ sub: 'ann', exp: at(60) }))
    for (let i = 1; i < 10; i++) {
      clock.advance(10_000)
      t.strictSame(await chat.renewByFrame(sign({ sub: 'ann', exp: at(60 + i * 1000) })), { type: 'auth.ok', expiresAt: at(60 + i * 1000) * 1000 })
    }
    clock.advance(10_000)
    t.ok(await isOpen(chat))
    t.strictSame(await chat.renewByFrame(sign({ sub: 'ann' })), { type: 'auth.ok', expiresAt: null })
    clock.advance(1100)
    await eventually(() => chat.closed.code !== null, 'it is closed')
    t.strictSame(chat.closed, { code: 3000, reason: 'lifetime_exceeded' })
    clock.exit()
  })

  await t.test('passes with the grace, in which a renewal is accepted still', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true, expiryGrace: 30_000 } })
    const clock = moveClock(t)
    const at = from(Date.now())
    const token = sign({ sub: 'ann', exp: at(60) })
    const [late, saved] = [await connect(token), await connect(token)]
    clock.advance(80_000)
    t.ok(await isOpen(late))
    t.equal((await saved.renewByFrame(token)).code, 'WS_AUTH_TOKEN_EXPIRED', 'no grace for a new token')
    t.strictSame(await saved.renewByFrame(sign({ sub: 'ann', exp: at(200) })), { type: 'auth.ok', expiresAt: at(200) * 1000 })
    t.equal(late.connection.expiresAt, at(60) * 1000)
    clock.advance(11_000)
    await eventually(() => late.closed.code !== null, 'the grace is over')
    t.strictSame(late.closed, { code: 3000, reason: 'token_expired' })
    clock.advance(128_000)
    t.ok(await isOpen(saved), 'the grace is the new token\'s too')
    clock.advance(11_000)
    await eventually(() => saved.closed.code !== null, 'the second grace is over')
    t.strictSame(saved.closed, { code: 3000, reason: 'token_expired' })
    clock.exit()
  })

  await t.test('ends renewals without any timer', async (t) => {
    // The sweep runs 150 ms after this deadline.
    for (const [way, renew] of Object.entries(WAYS)) {
      const { app, connect } = await startChat(t, { plugin: { renewal: true, expiryGrace: 100 } })
      const clock = moveClock(t)
      const at = from(Date.now())
      const chat = await connect(sign({ sub: 'ann', exp: at(60) }))
      clock.travel(at(60) * 1000 + 99)
      t.ok(await isOpen(chat))
      clock.advance(1)
      t.equal(app.wsAuth.connections.size, 1, 'nothing has run yet')
      if (way === 'an auth frame') chat.client.send(JSON.stringify({ type: 'auth', token: sign({ sub: 'ann', exp: at(600) }) }))
      else t.equal(await renew(chat, sign({ sub: 'ann', exp: at(600) })), 'WS_AUTH_TOKEN_INVALID')
      await eventually(() => chat.closed.code !== null, 'it is closed')
      t.strictSame(chat.closed, { code: 3000, reason: 'token_expired' })
      t.notMatch(chat.received.join(), /auth\.(ok|error)/, 'and not answered')
      t.match(app.wsAuth.stats(), { renewed: 0, closed: { token_expired: 1 } })
      clock.exit()
    }
  })
})

t.test('a renewal under way', async (t) => {
  interface Held { chat: Chat, signals: AbortSignal[], finish: () => void, renewing: Promise<string>, stats: () => fastifyWsAuth.WsAuthStats, close: () => Promise<undefined> }

  /** A connection with a renewal that its verifier holds, and what the promise of it says in the end. */
  async function held (t: Test, plugin: fastifyWsAuth.WsAuthOptions = {}): Promise<Held> {
    const gate = hold()
    const signals: AbortSignal[] = []
    const { app, connect } = await startChat(t, {
      plugin: {
        renewal: true,
        ...plugin,
        verify: async (token, _request, { signal }) => {
          if (token.startsWith('present')) return { sub: 'ann', exp: NOW + 60 }
          signals.push(signal)
          await gate.wait()
          return { sub: 'ann', exp: NOW + 1000 }
        }
      }
    })
    const chat = await connect('present')
    const renewing = chat.connection.renew('next').then(() => 'accepted', ({ code }) => String(code))
    await eventually(() => signals.length === 1, 'the verifier is asked')
    t.notOk(signals[0]?.aborted)
    return { chat, signals, finish: gate.release, renewing, stats: app.wsAuth.stats, close: async () => await app.close() }
  }

  const endings: Record<string, [end: (held: Held) => unknown, code: number]> = {
    'the app closes it': [({ chat }) => { chat.connection.close(4001) }, 4001],
    'the app terminates it': [({ chat }) => { chat.socket.terminate() }, 1006],
    'the client closes it': [({ chat }) => { chat.client.close(4002) }, 4002],
    'the client has gone': [({ chat }) => { chat.client.terminate() }, 1006],
    'the app closes': [({ close }) => { void close() }, 1001]
  }
  for (const [name, [end, code]] of Object.entries(endings)) {
    await t.test(`is refused at once when ${name}`, async (t) => {
      const all = await held(t)
      const { chat, signals, finish, renewing, stats } = all
      const before = stateOf(chat)
      end(all)
      t.equal(await renewing, 'WS_AUTH_TOKEN_INVALID')
      t.ok(signals[0]?.aborted)
      await eventually(() => chat.closed.code !== null, 'it is closed')
      t.equal(chat.closed.code, code)
      finish()
      await turn()
      t.strictSame(stateOf(chat), before)
      t.match(stats(), { connections: 0, renewed: 0 })
      t.strictSame(stats().refused, {}, 'it went with the connection')
    })
  }

  await t.test('is refused when the connection expires', async (t) => {
    const { chat, signals, finish, renewing, stats } = await held(t, { handshakeTimeout: 1e6 })
    const before = stateOf(chat)
    const clock = moveClock(t)
    clock.travel((NOW + 60) * 1000)
    // The sweep was set by the real clock. A message is what notices here.
    chat.client.send('hello')
    await eventually(() => chat.closed.code !== null, 'it is closed')
    t.strictSame(chat.closed, { code: 3000, reason: 'token_expired' })
    t.equal(await renewing, 'WS_AUTH_TOKEN_INVALID')
    t.ok(signals[0]?.aborted)
    finish()
    await turn()
    t.strictSame(stateOf(chat), before)
    t.strictSame(chat.got, [])
    t.match(stats(), { connections: 0, renewed: 0 })
    clock.exit()
  })

  await t.test('is refused when the connection has expired and nobody has noticed', async (t) => {
    const { chat, finish, renewing } = await held(t, { handshakeTimeout: 1e6 })
    const before = stateOf(chat)
    const clock = moveClock(t)
    clock.travel((NOW + 60) * 1000)
    finish()
    t.equal(await renewing, 'WS_AUTH_TOKEN_INVALID')
    t.strictSame(stateOf(chat), before)
    await eventually(() => chat.closed.code !== null, 'it is closed')
    t.strictSame(chat.closed, { code: 3000, reason: 'token_expired' })
    clock.exit()
  })

  await t.test('is refused at handshakeTimeout, and the connection stays', async (t) => {
    const { chat, signals, finish, renewing, stats } = await held(t, { handshakeTimeout: 50 })
    const before = stateOf(chat)
    t.equal(await renewing, 'WS_AUTH_UNAVAILABLE')
    t.ok(signals[0]?.aborted)
    const byFrame = await chat.renewByFrame('next')
    t.strictSame(byFrame, { type: 'auth.error', code: 'WS_AUTH_UNAVAILABLE' })
    t.ok(signals[1]?.aborted)
    t.ok(await isOpen(chat))
    finish()
    await turn()
    t.strictSame(stateOf(chat), before, 'what comes too late is not taken')
    t.match(stats(), { connections: 1, renewed: 0, refused: { WS_AUTH_UNAVAILABLE: 2 } })
    await chat.connection.renew('next')
    t.equal(chat.connection.expiresAt, (NOW + 1000) * 1000)
    t.notOk(signals[2]?.aborted)
  })
})

/** All orders of some things. */
function orders<T> (items: readonly T[]): T[][] {
  return items.length < 2 ? [[...items]] : items.flatMap((item, i) => orders(items.toSpliced(i, 1)).map((rest) => [item, ...rest]))
}

t.test('racing renewals leave the result of the newest, in whatever order they come and go', async (t) => {
  const tokens = [1, 2, 3].map((n) => ({ sub: 'ann', iat: NOW - 10 + n, exp: NOW + 600 + n, n }))
  const gates = new Map<unknown, ReturnType<typeof hold>>()
  const asked: unknown[] = []
  const { app, connect } = await startChat(t, {
    plugin: { renewal: true },
    wsAuth: {
      authorize: async (user) => {
        const { n } = user as Claims
        asked.push(n)
        await gates.get(n)?.wait()
        return true
      }
    }
  })
  for (const way of Object.keys(WAYS)) {
    for (const started of orders(tokens)) {
      for (const finished of orders(tokens)) {
        gates.clear()
        const chat = await connect(sign({ sub: 'ann', iat: NOW - 10, exp: NOW + 600, n: 0 }))
        const { renewed } = app.wsAuth.stats()
        for (const { n } of tokens) gates.set(n, hold())
        asked.length = 0
        const outcomes = new Map<unknown, Promise<string>>()
        for (const claims of started) {
          if (way === 'an auth frame') chat.client.send(JSON.stringify({ type: 'auth', token: sign(claims) }))
          else outcomes.set(claims.n, chat.connection.renew(sign(claims)).then((user) => `ok ${String((user as Claims).n)}`, ({ code }) => String(code)))
        }
        await eventually(() => asked.length === 3, 'all are under way')
        let newest = 0
        let accepted = 0
        for (const { n, exp } of finished) {
          const isNewer = n > newest
          if (isNewer) { newest = n; accepted++ }
          gates.get(n)?.release()
          const expected = isNewer ? { type: 'auth.ok', expiresAt: exp * 1000 } : { type: 'auth.error', code: 'WS_AUTH_TOKEN_INVALID' }
          const outcome = outcomes.get(n)
          if (outcome !== undefined) t.equal(await outcome, isNewer ? `ok ${n}` : expected.code)
          else t.strictSame(JSON.parse(await chat.next()), expected)
          const { connection, request } = chat
          t.strictSame([connection.claims, connection.user, request.user].map((claims) => (claims as Claims).n), [newest, newest, newest])
          t.equal(connection.expiresAt, (NOW + 600 + newest) * 1000)
        }
        t.equal(newest, 3)
        t.equal(app.wsAuth.stats().renewed, renewed + accepted)
        chat.client.terminate()
      }
    }
  }
})

t.test('many renewals at once', async (t) => {
  await t.test('more than eight of a connection that have to wait are too many', async (t) => {
    let gate = hold()
    let asked = 0
    const { app, connect } = await startChat(t, {
      plugin: { renewal: true },
      wsAuth: { authorize: async (user) => { if ((user as Claims).n === 1) { asked++; await gate.wait() } return true } }
    })
    const chat = await connect(sign(PRESENT))
    const other = await connect(sign(PRESENT))
    for (let round = 0; round < 2; round++) {
      gate = hold()
      asked = 0
      for (let i = 0; i < 12; i++) chat.client.send(JSON.stringify({ type: 'auth', token: sign(NEWER) }))
      for (let i = 0; i < 4; i++) t.equal(await chat.next(), '{"type":"auth.error","code":"WS_AUTH_LIMIT"}')
      await eventually(() => asked === 8, 'eight are under way')
      t.equal((await other.renewByFrame(sign(without({ ...NEWER, jti: 'x' }, 'n')))).type, 'auth.ok', 'another connection is not held up')
      t.ok(await chat.isHeard(), 'nor are messages')
      gate.release()
      for (let i = 0; i < 8; i++) t.match(await chat.next(), '"auth.ok"')
    }
    t.match(app.wsAuth.stats(), { renewed: 18, refused: { WS_AUTH_LIMIT: 8 } })
    t.equal(asked, 8)
  })

  await t.test('that come in one chunk are answered in order', async (t) => {
    const { port } = await startChat(t, { plugin: { renewal: true } })
    const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign(PRESENT)}` } })
    const tokens = Array.from({ length: 40 }, (_, i) => i % 2 === 0 ? { ...NEWER, exp: NEWER.exp + i } : { ...NEWER, exp: 1 })
    client.send(Buffer.concat(tokens.map((claims) => clientFrame(1, JSON.stringify({ type: 'auth', token: sign(claims) })))))
    for (let i = 0; i < tokens.length; i++) t.match(String((await client.frame()).payload), i % 2 === 0 ? '"auth.ok"' : 'WS_AUTH_TOKEN_EXPIRED')
  })

  await t.test('of a client that reads none of the answers end the connection, in bounded memory', async (t) => {
    const { app, port } = await start(t, {
      server: { logger: false },
      plugin: { renewal: true },
      routes: (app) => { app.get('/chat', { websocket: true }, (socket) => { sockets.push(socket) }) }
    })
    const sockets: Array<{ bufferedAmount: number, readyState: number }> = []
    const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign(PRESENT)}` } })
    await eventually(() => sockets.length === 1, 'it is open')
    client.socket.removeAllListeners('data')
    client.socket.pause()
    const frames = Buffer.concat(Array.from({ length: 32 }, () => clientFrame(1, '{"type":"auth"}')))
    const answered = (): number => app.wsAuth.stats().refused.WS_AUTH_TOKEN_INVALID ?? 0
    let most = 0
    let sent = 0
    while (app.wsAuth.connections.size > 0) {
      client.socket.write(frames)
      sent += 32
      await eventually(() => answered() === sent || app.wsAuth.connections.size === 0, 'they are answered')
      most = Math.max(most, sockets[0]?.bufferedAmount ?? 0)
    }
    t.comment(`${sent} frames, ${most} bytes unsent at most`)
    t.strictSame(app.wsAuth.stats().closed, { error: 1 })
    t.ok(sent > 1000, 'it was not for their number')
    await eventually(() => sockets[0]?.readyState === 3, 'the socket is gone')
    t.ok(most < 100_000, `${most} bytes were unsent at most`)
  })
})

/** Requests of an open connection do not end, and are not to be told from others. */
t.test('two connections of one user are renewed each by itself', async (t) => {
  const { app, connect } = await startChat(t, { plugin: { renewal: true } })
  const [one, two] = [await connect(sign(PRESENT)), await connect(sign(PRESENT))]
  const before = stateOf(two)
  t.equal((await one.renewByFrame(sign(NEWER))).type, 'auth.ok')
  t.strictSame(stateOf(two), before)
  t.strictSame(app.wsAuth.connections.bySub('ann'), [one.connection, two.connection])
  one.client.close()
  await once(one.client, 'close')
  t.strictSame(app.wsAuth.connections.bySub('ann'), [two.connection])
  t.match(await two.connection.renew(sign(NEWER)) as FastifyRequest['user'], NEWER)
})

/** A host of connections that have no socket, and what was sent to them. */
class Silence {
  readonly sweep = new Sweep()
  readonly grace: number = 0
  readonly hasFrames: boolean = true
  readonly maxFrameBytes = 9216
  readonly endByAge = (): number => Infinity
  readonly renewals = { renew: async () => { throw new Error('not here') }, attach: () => {}, abort: () => {}, onFrame: () => {} }
  readonly route
  readonly ended: string[] = []
  constructor (maxLifetime: number) {
    this.route = { maxLifetime, closeCodes: { unauthorized: 3000 } } as ConnectionHost['route']
  }

  onChanged (): void {}

  onEnd (_connection: unknown, _request: unknown, reason: string): void { this.ended.push(reason) }
}

/** Opens a connection, and counts the hints that it gets by the second in which they come. */
function openSilent (host: Silence, claims: Claims, hints: number[]): OpenConnection {
  const socket = {
    send: (text: string) => { if (text === '{"type":"auth.renew"}') hints.push(Date.now()) },
    close: () => {},
    _receiver: {}
  }
  const expiresAt = claims.exp === undefined ? null : Number(claims.exp) * 1000
  const connection = new OpenConnection(socket as never, {} as never, { user: claims as never, claims, source: 'header', expiresAt }, host)
  connection.start()
  return connection
}

t.test('the hint to renew', async (t) => {
  const DAY = 86_400_000
  /** When it was that connections were opened and hinted, in seconds from the issue of their tokens, which live 300 s. */
  const crowds: Array<[name: string, openedAt: number, claims: (now: number) => Claims, first: number, last: number]> = [
    ['tokens that were minted in one second', 0, (now) => ({ iat: now, exp: now + 300 }), 240, 285],
    ['tokens that say nothing of when they were issued', 0, (now) => ({ exp: now + 300 }), 240, 285],
    ['tokens that are half spent', 150, (now) => ({ iat: now, exp: now + 300 }), 240, 285],
    ['tokens in the last fifth of their life', 250, (now) => ({ iat: now, exp: now + 300 }), 250, 285],
    ['tokens past three quarters of the last fifth of their life', 290, (now) => ({ iat: now, exp: now + 300 }), 290, 297.5],
    ['tokens that were issued long ago', 290, (now) => ({ iat: now - 3e6, exp: now + 300 }), 290, 297.5],
    ['tokens that are said to be as old as the world', 0, (now) => ({ iat: -1e300, exp: now + 300 }), 0, 225],
    ['tokens that were issued by a clock that is ahead', 0, (now) => ({ iat: now + 50, exp: now + 300 }), 250, 287.5]
  ]
  for (const [name, openedAt, claimsOf, first, last] of crowds) {
    await t.test(`comes once for each of a crowd of ${name}, spread over the time that there is for it`, async (t) => {
      const COUNT = 10_000
      const clock = moveClock(t)
      const start = Math.ceil(Date.now() / 1000)
      clock.travel((start + openedAt) * 1000)
      const host = new Silence(DAY)
      const hints = Array.from({ length: COUNT }, () => [] as number[])
      for (const own of hints) openSilent(host, claimsOf(start), own)
      for (let at = openedAt; at < 300; at += 0.25) clock.advance(250)
      host.sweep.stop()
      clock.exit()
      t.equal(hints.filter(({ length }) => length !== 1).length, 0, 'each gets one')
      const times = hints.flat().map((at) => at / 1000 - start)
      t.ok(Math.min(...times) >= first && Math.max(...times) <= last, `from ${Math.min(...times)} to ${Math.max(...times)}`)
      const seconds = new Map<number, number>()
      for (const at of times) seconds.set(Math.floor(at), (seconds.get(Math.floor(at)) ?? 0) + 1)
      const even = COUNT / (last - first)
      // Evenly, but for chance: of 44 in a second twice as many are beyond six standard deviations.
      t.ok(Math.max(...seconds.values()) < even * 2, `at most ${Math.max(...seconds.values())} in a second, where ${even} would be even`)
      t.ok(seconds.size > (last - first) * 0.9, `in ${seconds.size} seconds`)
    })
  }

  await t.test('comes to none to whom it is of no use', async (t) => {
    const clock = moveClock(t)
    const now = Math.ceil(Date.now() / 1000)
    clock.travel(now * 1000)
    const hints: number[] = []
    openSilent(new Silence(DAY), {}, hints)
    openSilent(new Silence(300_000), { iat: now, exp: now + 300 }, hints)
    openSilent(new Silence(200_000), { iat: now, exp: now + 300 }, hints)
    openSilent(Object.assign(new Silence(DAY), { hasFrames: false }), { iat: now, exp: now + 300 }, hints)
    openSilent(new Silence(DAY), { iat: now, exp: now + 300 }, hints).closeFor('shutdown', 1001)
    openSilent(new Silence(DAY), { iat: now, exp: now + 300 }, hints).onClosing('client')
    openSilent(new Silence(DAY), { iat: now, exp: now + 300 }, hints).onClosed()
    const some: number[] = []
    openSilent(new Silence(301_000), { iat: now, exp: now + 300 }, some)
    for (let at = 0; at < 300; at++) clock.advance(1000)
    clock.exit()
    t.equal(hints.length, 0)
    t.equal(some.length, 1, 'where a renewal gains a second it comes')
  })

  await t.test('comes again for each new token, and not for the old one', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true } })
    const clock = moveClock(t)
    const at = from(Date.now())
    clock.travel(at(1) * 1000)
    const start = at(1)
    const chat = await connect(sign({ sub: 'ann', iat: start, exp: start + 100 }))
    const step = async (seconds: number): Promise<string[]> => {
      for (let i = 0; i < seconds; i++) clock.advance(1000)
      t.ok(await chat.isHeard())
      return chat.received.splice(0)
    }
    t.strictSame(await step(50), [])
    t.match(await chat.renewByFrame(sign({ sub: 'ann', iat: start + 50, exp: start + 250 })), { type: 'auth.ok' })
    t.strictSame(await step(150), [], 'nothing at 80 to 95 s, nor before 210 s')
    t.match(await chat.renewByFrame(sign({ sub: 'bob', iat: start + 200, exp: start + 400 })), { type: 'auth.error' })
    t.strictSame(await step(45), ['{"type":"auth.renew"}'], 'a refused one changes nothing')
    t.match(await chat.renewByFrame(sign({ sub: 'ann', iat: start + 245, exp: start + 345 })), { type: 'auth.ok' })
    t.strictSame(await step(79), [])
    t.strictSame(await step(17), ['{"type":"auth.renew"}'])
    t.match(await chat.renewByFrame(sign({ sub: 'ann', iat: start + 341 })), { type: 'auth.ok' })
    t.strictSame(await step(500), [], 'a token that never expires')
    clock.exit()
  })

  await t.test('comes before the token expires, also where the grace is longer than its life', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true, expiryGrace: 60_000 } })
    const clock = moveClock(t)
    const at = from(Date.now())
    clock.travel(at(1) * 1000)
    let expiresIn = 10
    const start = at(1)
    const chat = await connect(sign({ sub: 'ann', iat: start, exp: start + 10 }))
    for (let i = 1; i <= 60; i++) {
      for (let k = 0; k < 4; k++) clock.advance(250)
      t.ok(await chat.isHeard())
      expiresIn--
      if (!chat.received.splice(0).includes('{"type":"auth.renew"}')) continue
      t.ok(expiresIn >= 0 && expiresIn <= 2, `a hint ${expiresIn} s before the expiry`)
      t.match(await chat.renewByFrame(sign({ sub: 'ann', iat: start + i, exp: start + i + 10 })), { type: 'auth.ok' })
      expiresIn = 10
    }
    t.ok(chat.connection.expiresAt as number >= (start + 60) * 1000, 'it was renewed all the time')
    // Renewed as late as can be, in the grace, the next hint is in time all the same.
    for (let i = 0; i < 30; i++) clock.advance(1000)
    t.ok(await chat.isHeard())
    chat.received.splice(0)
    t.match(await chat.renewByFrame(sign({ sub: 'ann', iat: start + 90, exp: start + 100 })), { type: 'auth.ok' })
    for (let i = 0; i < 40; i++) clock.advance(250)
    t.ok(await chat.isHeard())
    t.strictSame(chat.received.splice(0), ['{"type":"auth.renew"}'])
    clock.exit()
  })

  await t.test('may end the connection, which is not woken any more then', async (t) => {
    const clock = moveClock(t)
    const now = Math.ceil(Date.now() / 1000)
    clock.travel(now * 1000)
    const host = new Silence(DAY)
    const open = (hints: number[] = []): OpenConnection => openSilent(host, { iat: now, exp: now + 100 }, hints)
    for (let i = 0; i < 200; i++) {
      const hints: number[] = []
      const connection = open(hints)
      // As a class of the app could do in its `send`.
      hints.push = (...at) => { connection.onClosing('app'); return at.length }
    }
    for (let at = 0; at < 96; at++) clock.advance(1000)
    t.strictSame(host.ended, new Array(200).fill('app'))
    t.equal(host.sweep.size, 0)
    // The sweep still knows how many of those that it has have ended, and forgets them.
    for (const connection of Array.from({ length: 300 }, () => open())) connection.onClosing('app')
    clock.exit()
    t.ok(host.sweep.size < 150, `${host.sweep.size} are kept`)
  })

  await t.test('keeps no connection alive, whatever the token says of when it was issued', async (t) => {
    const clock = moveClock(t)
    const now = Math.ceil(Date.now() / 1000)
    clock.travel(now * 1000)
    const host = new Silence(DAY)
    openSilent(host, { iat: now + 50, exp: now + 3 }, [])
    clock.advance(2900)
    t.strictSame(host.ended, [])
    for (let i = 0; i < 5; i++) clock.advance(250)
    clock.exit()
    t.strictSame(host.ended, ['token_expired'])
  })

  await t.test('comes in time for tokens that do not say when they were issued', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true } })
    const clock = moveClock(t)
    const at = from(Date.now())
    clock.travel(at(1) * 1000)
    const start = at(1)
    const chat = await connect(sign({ sub: 'ann', exp: start + 100 }))
    for (let i = 0; i < 10; i++) clock.advance(1000)
    t.match(await chat.renewByFrame(sign({ sub: 'ann', exp: start + 110 })), { type: 'auth.ok' })
    for (let i = 10; i < 89; i++) clock.advance(1000)
    t.ok(await chat.isHeard())
    t.strictSame(chat.received.splice(0), [], 'not before the last fifth of the life since the renewal')
    for (let i = 89; i < 106; i++) clock.advance(1000)
    t.ok(await chat.isHeard())
    t.strictSame(chat.received.splice(0), ['{"type":"auth.renew"}'])
    clock.exit()
  })

  await t.test('comes on real connections where frames are on, and nowhere else', async (t) => {
    const settings: Array<[fastifyWsAuth.WsAuthOptions, fastifyWsAuth.RouteWsAuth, number]> = [
      [{ renewal: true }, true, 1],
      [{ token: { message: true } }, true, 1],
      [{}, { token: { message: true } }, 1],
      [{ renewal: false, token: { message: true } }, true, 0],
      [{}, true, 0],
      [{ renewal: true }, { maxLifetime: 99_000 }, 0],
      [{ renewal: true, expiryGrace: 2000 }, { maxLifetime: 101_000 }, 0]
    ]
    for (const [plugin, wsAuth, count] of settings) {
      const { connect } = await startChat(t, { plugin, wsAuth })
      const clock = moveClock(t)
      const at = from(Date.now())
      const chat = await connect(sign({ sub: 'ann', iat: at(0), exp: at(100) }))
      for (let i = 0; i < 97; i++) clock.advance(1000)
      t.ok(await chat.isHeard())
      t.strictSame(chat.received, Array(count).fill('{"type":"auth.renew"}'), JSON.stringify([plugin, wsAuth]))
      clock.exit()
    }
  })
})
