import type { FastifyInstance, FastifyRequest } from 'fastify'
import fastifyWsAuth, { memoryBackplane, readers } from 'fastify-ws-auth'
import type { Claims, Connection, SubjectIdentifier, WsAuthOptions } from 'fastify-ws-auth'
import { expect, test } from 'tstyche'

declare const app: FastifyInstance
declare function readOptions (options: WsAuthOptions): void

test('every option is typed', () => {
  const options: Required<Omit<WsAuthOptions, 'jwtNamespace'>> = {
    jwt: { secret: 'secret' },
    cookie: { secret: 'secret' },
    websocket: { options: { maxPayload: 1 }, errorHandler (error, socket) { socket.close(1011, error.message) } },
    token: { header: 'x-token', subprotocol: true, query: false, cookie: { name: 'token', signed: true }, param: 'token', message: { timeout: 1, maxBytes: 1, read: readers.graphqlWs, deliver: true } },
    verify (token, request, { signal }) {
      expect(token).type.toBe<string>()
      expect(request).type.toBe<FastifyRequest>()
      expect(signal).type.toBe<AbortSignal>()
      return { sub: token }
    },
    claims: { type: 'object' },
    user (claims, request) {
      expect(claims).type.toBe<Claims>()
      expect(request).type.toBe<FastifyRequest>()
      return { id: claims.sub }
    },
    roles: (claims) => [String(claims.role)],
    scopes: (claims) => [String(claims.scope)],
    origin: async (origin, request) => origin === request.host,
    requireTls: true,
    rejectWith: 'auto',
    closeCodes: { unauthorized: 4401 },
    tokenCache: { max: 1000, ttl: 5000 },
    renewal: 'offered',
    expiryGrace: 0,
    maxLifetime: Infinity,
    limits: {
      perUser: { max: 3, scope: 'cluster', whenDown: 'reject' },
      onLimit: 'close-oldest',
      pending: 10,
      connections: 1000,
      messages: { perSecond: 10, burst: 20, perUser: true, onLimit: 'pause' },
      bytes: { perSecond: 1000 },
      idle: 60_000
    },
    heartbeat: { interval: 30_000 },
    drain: { within: 30_000, code: 4001, reason: 'deploy' },
    recheck: {
      every: 1000,
      check: async (connection, { signal }) => {
        expect(connection).type.toBe<Connection>()
        expect(signal).type.toBe<AbortSignal>()
        return connection.sub !== 'mallory'
      },
      onFailure: 'close'
    },
    handshakeTimeout: 1,
    maxTokenBytes: 1,
    tickets: { path: false, query: 'ticket', ttl: 1, require: true },
    revocationTtl: 1,
    backplane: memoryBackplane(),
    backChannelLogout: { path: '/logout', issuer: 'i', audience: 'a', match: 'sub' },
    signals: {
      path: '/events',
      issuer: 'i',
      audience: 'a',
      subject: async (subject, { name, at, payload }) => {
        expect(subject).type.toBe<SubjectIdentifier | null>()
        expect(at).type.toBe<number>()
        if (name === 'account-purged') return { sub: String(payload.id) }
        return subject?.session?.id === undefined ? null : { sid: subject.session.id }
      }
    },
    confirm: async (claims, request) => claims.cnf === request.headers['x-proof'],
    subject: (claims) => claims.sub,
    groups: (claims) => [String(claims.tenant)],
    upgrades: ({ url }) => url !== '/socket.io',
    routes: { '/graphql': { roles: ['member'], optional: true, expiryGrace: 1, renewal: false, verify: () => null }, '/public': false }
  }
  expect(app.register).type.toBeCallableWith(fastifyWsAuth, options)
})

test('no option is needed for the types: which ones are is checked at registration', () => {
  expect(app.register).type.toBeCallableWith(fastifyWsAuth)
  expect<WsAuthOptions>().type.toBeAssignableFrom({})
})

test('perUser is a number, or counts on all instances', () => {
  readOptions({ limits: { perUser: { max: 3, scope: 'cluster' } } })
  readOptions({ limits: { perUser: { max: 3, scope: 'cluster', whenDown: 'reject' } } })
  // @ts-expect-error Property 'scope' is missing
  readOptions({ limits: { perUser: { max: 3 } } })
  // @ts-expect-error Type '"stop"' is not assignable
  readOptions({ limits: { perUser: { max: 3, scope: 'cluster', whenDown: 'stop' } } })
})

test('a wrong key of the plugin is an error', () => {
  // @ts-expect-error Object literal may only specify known properties
  readOptions({ jwt: { secret: 's' }, handshakeTimeOut: 1 })
  // @ts-expect-error Object literal may only specify known properties
  readOptions({ token: { headers: true } })
  // @ts-expect-error Object literal may only specify known properties
  readOptions({ token: { cookie: { name: 'token', sign: true } } })
  // @ts-expect-error Object literal may only specify known properties
  readOptions({ closeCodes: { unauthorised: 4401 } })
  // @ts-expect-error Object literal may only specify known properties
  readOptions({ tokenCache: { max: 1, ttl: 1, size: 1 } })
  // @ts-expect-error Object literal may only specify known properties
  readOptions({ token: { message: { timeOut: 1 } } })
  // @ts-expect-error Object literal may only specify known properties
  readOptions({ limits: { perSub: 1 } })
  // @ts-expect-error Type '"close-newest"' is not assignable to type 'OnLimit | undefined'.
  readOptions({ limits: { onLimit: 'close-newest' } })
})

test('a wrong key is an error where the plugin is registered', () => {
  expect(app.register).type.not.toBeCallableWith(fastifyWsAuth, { handshakeTimeOut: 1 })
  expect(app.register).type.not.toBeCallableWith(fastifyWsAuth, { handshakeTimeout: '1s' })
})

test('a wrong type of an option is an error', () => {
  expect<WsAuthOptions>().type.not.toBeAssignableFrom<{ jwt: string }>()
  expect<WsAuthOptions>().type.not.toBeAssignableFrom<{ jwtNamespace: string[] }>()
  expect<WsAuthOptions>().type.not.toBeAssignableFrom<{ cookie: boolean }>()
  expect<WsAuthOptions>().type.not.toBeAssignableFrom<{ websocket: { options: { maxPayload: string } } }>()
  expect<WsAuthOptions>().type.not.toBeAssignableFrom<{ verify: string }>()
  expect<WsAuthOptions>().type.not.toBeAssignableFrom<{ verify: (token: number) => object }>()
  expect<WsAuthOptions>().type.not.toBeAssignableFrom<{ claims: string }>()
  expect<WsAuthOptions>().type.not.toBeAssignableFrom<{ user: string }>()
  expect<WsAuthOptions>().type.not.toBeAssignableFrom<{ scopes: string[] }>()
  expect<WsAuthOptions>().type.not.toBeAssignableFrom<{ rejectWith: 'status' }>()
  expect<WsAuthOptions>().type.not.toBeAssignableFrom<{ closeCodes: { unauthorized: string } }>()
  expect<WsAuthOptions>().type.not.toBeAssignableFrom<{ tokenCache: true }>()
  expect<WsAuthOptions>().type.not.toBeAssignableFrom<{ tokenCache: { max: number } }>()
  expect<WsAuthOptions>().type.not.toBeAssignableFrom<{ handshakeTimeout: string }>()
  expect<WsAuthOptions>().type.not.toBeAssignableFrom<{ maxTokenBytes: string }>()
})

test('a token source is a name or a switch', () => {
  type Token = NonNullable<WsAuthOptions['token']>
  expect<Token['header']>().type.toBe<boolean | string | undefined>()
  expect<Token['subprotocol']>().type.toBe<boolean | string | undefined>()
  expect<Token['query']>().type.toBe<boolean | string | undefined>()
  expect<Token['param']>().type.toBe<boolean | string | undefined>()
  expect<Token['cookie']>().type.toBe<boolean | string | { name: string, signed?: boolean } | undefined>()
  expect<Token>().type.not.toBeAssignableFrom<{ cookie: { signed: true } }>()
})

test('an origin is a word, a list, or a function that answers with a boolean', () => {
  type Origin = NonNullable<WsAuthOptions['origin']>
  expect<Origin>().type.toBeAssignableFrom<'same-host'>()
  expect<Origin>().type.toBeAssignableFrom<'any'>()
  expect<Origin>().type.toBeAssignableFrom<readonly ['https://example.com']>()
  expect<Origin>().type.toBeAssignableFrom<(origin: string) => boolean>()
  expect<Origin>().type.not.toBeAssignableFrom<string>()
  expect<Origin>().type.not.toBeAssignableFrom<RegExp>()
  expect<Origin>().type.not.toBeAssignableFrom<boolean>()
  expect<Origin>().type.not.toBeAssignableFrom<(origin: string) => string>()
})
