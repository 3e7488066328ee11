import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { BackplaneError, BackplaneStats, Claims, CloseReason, CommandResult, Connection, DrainResult, InspectedRoute, Inspection, InspectionWarning, InstanceAnswer, IssuedTicket, TokenSource, WsAuth, WsAuthErrorCode, WebSocket, WsAuthEvent, WsAuthHistogram, WsAuthRouteStats, WsAuthStats } from 'fastify-ws-auth'
import { expect, test } from 'tstyche'

declare const app: FastifyInstance
declare const request: FastifyRequest
declare const connection: Connection

test('request.wsAuth may be null', () => {
  expect(request.wsAuth).type.toBe<Connection | null>()
  // @ts-expect-error 'request.wsAuth' is possibly 'null'.
  request.wsAuth.close()
})

test('a connection is known by its fields', () => {
  expect(connection.id).type.toBe<string>()
  expect(connection.sub).type.toBe<string | null>()
  expect(connection.user).type.toBe<FastifyRequest['user'] | null>()
  expect(connection.claims).type.toBe<Claims | null>()
  expect(connection.source).type.toBe<TokenSource | null>()
  expect(connection.openedAt).type.toBe<number>()
  expect(connection.expiresAt).type.toBe<number | null>()
  expect(connection.close).type.toBe<(code?: number, reason?: string) => void>()
  expect<keyof Connection>().type.toBe<'id' | 'sub' | 'user' | 'claims' | 'source' | 'openedAt' | 'expiresAt' | 'renew' | 'close' | 'groups' | 'endsAt' | 'socket' | 'send'>()
  expect(connection.socket).type.toBe<WebSocket | null>()
  expect(connection.send('hello')).type.toBe<boolean>()
  expect(connection.send).type.toBeCallableWith(Buffer.from('hello'))
  // @ts-expect-error Expected 1 arguments, but got 0.
  connection.send()
  expect(connection.renew).type.toBe<(token: string) => Promise<FastifyRequest['user']>>()
})

test('a connection is read-only', () => {
  // @ts-expect-error Cannot assign to 'id' because it is a read-only property.
  connection.id = 'id'
  // @ts-expect-error Cannot assign to 'sub' because it is a read-only property.
  connection.sub = null
  // @ts-expect-error Cannot assign to 'user' because it is a read-only property.
  connection.user = null
  // @ts-expect-error Cannot assign to 'claims' because it is a read-only property.
  connection.claims = null
  // @ts-expect-error Cannot assign to 'source' because it is a read-only property.
  connection.source = null
  // @ts-expect-error Cannot assign to 'openedAt' because it is a read-only property.
  connection.openedAt = 0
  // @ts-expect-error Cannot assign to 'expiresAt' because it is a read-only property.
  connection.expiresAt = null
})

test('claims are read-only', () => {
  const claims = {} as Claims
  expect(claims.sub).type.toBe<string | undefined>()
  expect(claims.aud).type.toBe<string | readonly string[] | undefined>()
  expect(claims.exp).type.toBe<number | undefined>()
  expect(claims.anything).type.toBe<unknown>()
  // @ts-expect-error Cannot assign to 'sub' because it is a read-only property.
  claims.sub = 'mallory'
  // @ts-expect-error Index signature in type 'Claims' only permits reading.
  claims.role = 'admin'
})

test('app.wsAuth finds connections by an id and by a sub, which are strings', () => {
  expect(app.wsAuth).type.toBe<WsAuth>()
  expect(app.wsAuth.connections.size).type.toBe<number>()
  expect(app.wsAuth.connections.get('id')).type.toBe<Connection | undefined>()
  expect(app.wsAuth.connections.bySub('sub')).type.toBe<Connection[]>()
  expect(app.wsAuth.connections.byRole('admin')).type.toBe<Connection[]>()
  expect(app.wsAuth.connections.byGroup('red')).type.toBe<Connection[]>()
  expect(app.wsAuth.connections.byRoute('/chat')).type.toBe<Connection[]>()
  expect([...app.wsAuth.connections]).type.toBe<Connection[]>()
  expect(app.wsAuth.connections.get).type.not.toBeCallableWith(1)
  expect(app.wsAuth.connections.bySub).type.not.toBeCallableWith(1)
  expect(app.wsAuth.connections.bySub).type.not.toBeCallableWith()
  expect(app.wsAuth.connections).type.not.toHaveProperty('add')
  expect(app.wsAuth.connections).type.not.toHaveProperty('remove')
  // @ts-expect-error Cannot assign to 'connections' because it is a read-only property.
  app.wsAuth.connections = [connection]
})

test('app.wsAuth counts', () => {
  const stats = app.wsAuth.stats()
  expect(stats).type.toBe<WsAuthStats>()
  expect(stats.connections).type.toBe<number>()
  expect(stats.pending).type.toBe<number>()
  expect(stats.draining).type.toBe<number>()
  expect(app.wsAuth.drain).type.toBeCallableWith({ within: 1000, code: 4001, reason: 'deploy' })
  expect(app.wsAuth.drain({ within: 1000 })).type.toBe<Promise<DrainResult>>()
  expect(stats.accepted).type.toBe<number>()
  expect(stats.refused).type.toBe<Readonly<Record<WsAuthErrorCode, number>>>()
  expect(stats.renewed).type.toBe<number>()
  expect(stats.closed).type.toBe<Readonly<Record<CloseReason, number>>>()
  expect(stats.backplane).type.toBe<BackplaneStats>()
  expect(stats.backplane.isCurrent).type.toBe<boolean>()
  expect(stats.backplane.age).type.toBe<number | null>()
  expect(stats.backplane.instances).type.toBe<number | null>()
  expect(stats.backplane.revocations).type.toBe<number>()
  expect(stats.backplane.lastError).type.toBe<BackplaneError | null>()
  expect(stats.routes['/chat']).type.toBe<WsAuthRouteStats | undefined>()
  expect(stats.durations.accepted).type.toBe<WsAuthHistogram>()
  expect(stats.durations.closed.bounds).type.toBe<readonly number[]>()
  expect(stats.durations.refused.sum).type.toBe<number>()
})

test('app.wsAuth.inspect() describes each route', () => {
  const inspection = app.wsAuth.inspect()
  expect(inspection).type.toBe<Inspection>()
  expect(inspection.routes).type.toBe<readonly InspectedRoute[]>()
  expect(inspection.routes[0]?.access).type.toBe<'required' | 'optional' | 'public' | undefined>()
  expect(inspection.routes[0]?.warnings).type.toBe<readonly InspectionWarning[] | undefined>()
  expect(inspection.warnings.token_in_query).type.toBe<string | undefined>()
  expect(inspection.warnings).type.not.toHaveProperty('unknown_warning')
  expect(inspection.asyncapi).type.toBeCallableWith({ title: 'Chat', version: '1.0.0' })
  expect(inspection.asyncapi).type.not.toBeCallableWith({ name: 'Chat' })
})

test('an event says what was decided', () => {
  const event = {} as WsAuthEvent
  expect(event.event).type.toBe<'accepted' | 'refused' | 'renewed' | 'renewal_refused' | 'expired' | 'closed' | 'ticket_issued'>()
  expect(event.code).type.toBe<WsAuthErrorCode | null>()
  expect(event.reason).type.toBe<CloseReason | null>()
  expect(event.source).type.toBe<TokenSource | null>()
  expect(event.match).type.toBe<Readonly<Record<string, string | true>> | null>()
  expect(event.by).type.toBe<string | null>()
  expect(event.why).type.toBe<string | null>()
  expect(event.duration).type.toBe<number>()
  expect(event).type.not.toHaveProperty('token')
})

test('revoke and disconnect take exactly what they act on', () => {
  const { revoke, disconnect } = app.wsAuth
  expect(revoke).type.toBeCallableWith({ jti: 'a' })
  expect(revoke).type.toBeCallableWith({ sub: 'ann', beforeAt: Date.now() }, { untilAt: Date.now() })
  for (const match of [{ group: 'a' }, { kid: 'a' }, { iss: 'a' }] as const) {
    expect(revoke).type.toBeCallableWith(match)
    expect(disconnect).type.toBeCallableWith(match, { by: 'ann', why: 'a reason', within: 1000 })
  }
  expect(revoke).type.toBeCallableWith({ all: true, beforeAt: Date.now() }, { by: 'ann', why: 'a reason' })
  expect(disconnect).type.toBeCallableWith({ all: true })
  expect(revoke).type.not.toBeCallableWith({ all: false })
  expect(revoke).type.not.toBeCallableWith({ all: 'x' })
  expect(revoke).type.not.toBeCallableWith({ all: true, sub: 'ann' })
  expect(revoke).type.not.toBeCallableWith({ jti: 'a', beforeAt: 1 })
  expect(revoke).type.not.toBeCallableWith({ sub: 'ann' }, { by: 5 })
  expect(revoke).type.not.toBeCallableWith({ id: 'a' })
  expect(revoke).type.not.toBeCallableWith({ jti: 'a', sub: 'ann' })
  expect(revoke).type.not.toBeCallableWith({})
  expect(revoke).type.not.toBeCallableWith({ sub: 'ann' }, { until: 1 })
  expect(disconnect).type.toBeCallableWith({ id: 'a' }, { code: 4000, reason: 'bye' })
  expect(disconnect).type.not.toBeCallableWith({ sub: 'ann', beforeAt: 1 })
  expect(disconnect).type.not.toBeCallableWith('a')
  expect(revoke({ jti: 'a' })).type.toBe<Promise<CommandResult>>()
  expect(disconnect({ id: 'a' })).type.toBe<Promise<CommandResult>>()
  expect<CommandResult>().type.toBe<{ readonly closed: number, readonly instances: readonly InstanceAnswer[] }>()
  expect<InstanceAnswer>().type.toBe<{ readonly id: string, readonly answered: boolean, readonly closed: number | null }>()
})

test('whether claims are revoked is said at once', () => {
  expect(app.wsAuth.isRevoked({ sub: 'ann' })).type.toBe<boolean>()
  expect(app.wsAuth.isRevoked).type.not.toBeCallableWith('token')
  expect(app.wsAuth.isRevoked({ sub: 'ann' }, { kid: 'a' })).type.toBe<boolean>()
  expect(app.wsAuth.isRevoked).type.not.toBeCallableWith({ sub: 'ann' }, 'a')
})

test('a ticket is text, and for how long it is good', () => {
  const { issueTicket } = app.wsAuth
  expect(issueTicket).type.toBeCallableWith({ sub: 'ann' })
  expect(issueTicket).type.toBeCallableWith({ sub: 'ann' }, { path: '/chat', origin: 'https://example.com', kid: 'a' })
  expect(issueTicket).type.not.toBeCallableWith('ann')
  expect(issueTicket).type.not.toBeCallableWith({ sub: 'ann' }, { url: '/chat' })
  expect(issueTicket({ sub: 'ann' })).type.toBe<Promise<IssuedTicket>>()
})
