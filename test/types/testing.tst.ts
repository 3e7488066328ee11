import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { connect } from 'fastify-ws-auth/client'
import { testServer } from 'fastify-ws-auth/client/testing'
import type { TestServer } from 'fastify-ws-auth/client/testing'
import { blackhole, expectClose, moveClock, restartable, restoreClock, signIn } from 'fastify-ws-auth/testing'
import type { Blackhole, Close, MovedClock, RestartableServer, SignedIn } from 'fastify-ws-auth/testing'
import { expect, test } from 'tstyche'
import { WebSocket } from 'ws'

declare const app: FastifyInstance

test('an app of any server is signed in to, restarted and put behind a black hole', () => {
  const secure = Fastify({ https: {} })
  const http2 = Fastify({ http2: true })
  expect(signIn(app)).type.toBe<Promise<SignedIn>>()
  expect(signIn).type.toBeCallableWith(secure, { sub: 'ann' }, { via: 'cookie', expiresIn: 1000, sign: () => 'token' })
  expect(signIn).type.toBeCallableWith(http2)
  expect(restartable(() => app)).type.toBe<Promise<RestartableServer<FastifyInstance>>>()
  expect(restartable).type.toBeCallableWith(async () => secure)
  expect(blackhole(app)).type.toBe<Promise<Blackhole>>()
  expect(blackhole).type.toBeCallableWith(http2)
  expect(blackhole).type.toBeCallableWith(new URL('wss://one.example'))
  expect(signIn).type.not.toBeCallableWith(app, 'ann')
  expect(signIn).type.not.toBeCallableWith(app, {}, { via: 'query' })
  expect(restartable).type.not.toBeCallableWith(app)
})

test('the result of signIn is taken by injectWS, inject and ws', async () => {
  const ann = await signIn(app)
  expect(app.injectWS).type.toBeCallableWith('/chat', ann)
  expect(app.inject).type.toBeCallableWith({ url: '/me', ...ann })
  expect(WebSocket).type.toBeConstructableWith('ws://one.example', ann)
})

test('each class of sockets is expected to close', () => {
  expect(expectClose(new WebSocket(null), 'token_expired')).type.toBe<Promise<Close>>()
  expect(expectClose).type.toBeCallableWith(connect('ws://one.example'), { code: 4000 }, { timeout: 10 })
  expect(expectClose).type.toBeCallableWith(new WebSocket(null), 'a reason of the app')
  expect(expectClose).type.not.toBeCallableWith(new WebSocket(null), { status: 401 })
  expect(expectClose).type.not.toBeCallableWith(app)
})

test('the clock is moved and set back', () => {
  expect(moveClock(1000, { jump: true })).type.toBe<Promise<MovedClock>>()
  expect(restoreClock()).type.toBe<void>()
})

test('the server for tests of pages takes options of the plugin but `jwt`', () => {
  expect(testServer()).type.toBe<Promise<TestServer>>()
  expect(testServer).type.toBeCallableWith({ plugin: { expiryGrace: 1 }, handler: (socket: WebSocket) => socket.close(), routes: () => {} })
  expect(testServer).type.not.toBeCallableWith({ plugin: { jwt: { secret: 's' } } })
})
