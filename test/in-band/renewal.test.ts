/*
 * Renewal of a connection, by an auth frame and by its API: which tokens it takes, and what changes by it.
 */
import { once } from 'node:events'
import fastifyJwt from '@fastify/jwt'
import type { FastifyRequest } from 'fastify'
import t from 'tap'
import fastifyWsAuth from '../../lib/index'
import { SECRET, sign } from '../helpers/app'
import { keys, mint } from '../helpers/keys'
import { clientFrame, upgrade } from '../helpers/raw-client'
import { eventually, hold, startChat, turn } from '../helpers/renewal-app'
import type { Chat } from '../helpers/renewal-app'
import { NEWER, NOW, PRESENT, WAYS, stateOf, userOf } from '../helpers/renewals'
import type { Claims } from '../helpers/renewals'
import { statsOf } from '../helpers/stats'

function without (claims: Claims, ...names: string[]): Claims {
  return Object.fromEntries(Object.entries(claims).filter(([name]) => !names.includes(name)))
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
  ['a token of another user', PRESENT, { ...NEWER, sub: 'bob' }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token of the same name in other letters', PRESENT, { ...NEWER, sub: 'Ann' }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token of an empty sub', PRESENT, { ...NEWER, sub: '' }, 'WS_AUTH_TOKEN_INVALID'],
  ['a token without a sub', PRESENT, without(NEWER, 'sub'), 'WS_AUTH_TOKEN_INVALID'],
  ['a token with a sub for a connection without one', without(PRESENT, 'sub'), NEWER, 'WS_AUTH_TOKEN_INVALID'],
  ['a token without a sub for a connection without one', without(PRESENT, 'sub'), without(NEWER, 'sub'), 'WS_AUTH_TOKEN_INVALID'],
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

for (const [way, renew] of Object.entries(WAYS)) {
  t.test(`a renewal by ${way} takes newer tokens of the same user`, async (t) => {
    const { app, connect } = await startChat(t, {
      plugin: { renewal: true, user: userOf, claims: { type: 'object', properties: { n: { type: 'number' }, filled: { default: 'in' } } } },
      wsAuth: { roles: ['member'], scopes: ['chat'], authorize: (user) => authorizeBy(user as Claims) }
    })
    for (const [name, present, next, code] of CASES) {
      await t.test(`a renewal by ${way} ${code === null ? 'accepts' : 'refuses'} ${name}`, async (t) => {
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

t.test('a token that is not a string throws a TypeError and is not counted as a refusal', async (t) => {
  const { app, connect } = await startChat(t)
  const { connection } = await connect(sign(PRESENT))
  for (const token of [undefined, null, 1, {}, [sign(NEWER)], Buffer.from(sign(NEWER)), Object(sign(NEWER))]) {
    await t.rejects(connection.renew(token as string), { constructor: TypeError, message: '"token" must be a string' })
  }
  t.strictSame(statsOf(app).refused, {})
})

t.test('an anonymous connection cannot become that of a user by a renewal', async (t) => {
  for (const [way, renew] of Object.entries(WAYS)) {
    await t.test(`an anonymous connection refuses a renewal by ${way}`, async (t) => {
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

t.test('a closed connection refuses renewals', async (t) => {
  const endings: Record<string, (chat: Chat, app: { close: () => Promise<undefined> }) => unknown> = {
    'that the app closes': ({ connection }) => { connection.close() },
    'that the app closes by its socket': ({ socket }) => { socket.close() },
    'that the app terminates': ({ socket }) => { socket.terminate() },
    'that the client closes': ({ client }) => { client.close() },
    'that the client terminates': ({ client }) => { client.terminate() },
    'of an app that closes': (_chat, app) => { void app.close() }
  }
  for (const [name, end] of Object.entries(endings)) {
    await t.test(`a connection ${name} refuses a renewal, also if its token is verified later`, async (t) => {
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
      t.equal(statsOf(app).renewed, 0)
    })
  }

  t.test('the plugin does not answer an auth frame behind a close by the app', async (t) => {
    const { app, port } = await startChat(t, { plugin: { renewal: true } })
    const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign(PRESENT)}` } })
    await eventually(() => app.wsAuth.connections.size === 1, 'it is open')
    for (const connection of app.wsAuth.connections) connection.close(4000, 'enough')
    client.send(clientFrame(1, JSON.stringify({ type: 'auth', token: sign(NEWER) })))
    t.strictSame(await client.close(), { code: 4000, reason: 'enough' })
    client.send(clientFrame(8, Buffer.from([0x0f, 0xa0])))
    await client.ended
    t.equal(client.rest.length, 0)
    t.match(statsOf(app), { renewed: 0, refused: {} })
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

t.test('the user of a request changes together with the connection, and only if the renewal is accepted', async (t) => {
  for (const [name, { plugin = {}, own, decorator = 'user', token = sign }] of Object.entries(VERIFIERS)) {
    await t.test(`the user of a request changes together with the connection if ${name} checks its tokens`, async (t) => {
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

t.test('a refused renewal keeps a user that the app has set', async (t) => {
  const secrets = { 'a key': SECRET, 'a secret function': async () => { await turn(); return SECRET } }
  for (const [name, secret] of Object.entries(secrets)) {
    await t.test(`a refused renewal keeps the user if the @fastify/jwt of the app has ${name}`, async (t) => {
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

t.test('an accepted renewal keeps its user although a slower one is refused', async (t) => {
  const gate = hold()
  let isSlow = true
  const { connect } = await startChat(t, {
    before: async (app) => { await app.register(fastifyJwt, { secret: async () => { if (isSlow) await gate.wait(); return SECRET } }) },
    plugin: { jwt: undefined as never, renewal: true, token: { message: true } },
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

/** Requests of an open connection do not end, and are not to be told from others. */
t.test('a renewal of one connection leaves the other connections of the user unchanged', async (t) => {
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
