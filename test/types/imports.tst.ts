import type { FastifyInstance } from 'fastify'
import fastifyWsAuth, { fastifyWsAuth as named, WsAuthError, wsAuthErrors } from 'fastify-ws-auth'
import type { WsAuthOptions } from 'fastify-ws-auth'
import required = require('fastify-ws-auth')
import { expect, test } from 'tstyche'

declare const app: FastifyInstance

test('the default import, the named import and require() are the plugin', () => {
  expect(named).type.toBe<typeof fastifyWsAuth>()
  expect(required).type.toBe<typeof fastifyWsAuth>()
  expect(required.default).type.toBe<typeof fastifyWsAuth>()
  expect(required.fastifyWsAuth).type.toBe<typeof fastifyWsAuth>()
  expect(fastifyWsAuth).type.toBeCallableWith(app, {})
  expect(app.register).type.toBeCallableWith(fastifyWsAuth, { jwt: { secret: 's' } })
  expect(app.register).type.toBeCallableWith(required, { jwt: { secret: 's' } })
})

test('require() has the errors and the types', () => {
  expect(required.WsAuthError).type.toBe<typeof WsAuthError>()
  expect(required.wsAuthErrors).type.toBe<typeof wsAuthErrors>()
  expect<required.WsAuthOptions>().type.toBe<WsAuthOptions>()
  expect<required.WsAuthError>().type.toBe<WsAuthError>()
})

test('there is nothing else to import', () => {
  expect<keyof typeof required>().type.toBe<'default' | 'fastifyWsAuth' | 'WsAuthError' | 'wsAuthErrors' | 'memoryBackplane' | 'connectionOf' | 'WebSocket' | 'readers' | 'revokeLostKeys'>()
})
