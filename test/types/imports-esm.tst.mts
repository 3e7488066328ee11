import type { FastifyInstance } from 'fastify'
import fastifyWsAuth, { fastifyWsAuth as named, WsAuthError, wsAuthErrors } from 'fastify-ws-auth'
import type { Claims, Connection, RouteWsAuth, TokenSource, WsAuth, WsAuthErrorCode, WsAuthOptions, WsAuthStats, WsAuthTypes } from 'fastify-ws-auth'
import { expect, test } from 'tstyche'

declare const app: FastifyInstance

test('an ES module has the default import and the named import', () => {
  expect(named).type.toBe<typeof fastifyWsAuth>()
  expect(app.register).type.toBeCallableWith(fastifyWsAuth, { jwt: { secret: 's' } })
  expect(new WsAuthError('WS_AUTH_FORBIDDEN')).type.toBe<WsAuthError>()
  expect(wsAuthErrors).type.toHaveProperty('WS_AUTH_FORBIDDEN')
})

test('an ES module has every type', () => {
  expect<[Claims, Connection, RouteWsAuth, TokenSource, WsAuth, WsAuthErrorCode, WsAuthOptions, WsAuthStats, WsAuthTypes]>().type.toHaveProperty('length')
  expect<WsAuthOptions>().type.not.toBe<object>()
})
