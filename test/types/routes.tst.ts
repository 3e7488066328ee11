import type { FastifyInstance, FastifyRequest, RouteOptions, RouteShorthandOptions } from 'fastify'
import type { RouteWsAuth, WsAuthTypes } from 'fastify-ws-auth'
import { expect, test } from 'tstyche'
import type { WebSocket } from 'ws'

declare const app: FastifyInstance
declare function readShorthand (options: RouteShorthandOptions): void
declare function readRoute (options: RouteOptions): void
declare function readWsAuth (options: RouteWsAuth): void

test('a shorthand route takes wsAuth beside websocket: true', () => {
  app.get('/', { websocket: true, wsAuth: { roles: ['member'] } }, (socket, request) => {
    expect(socket).type.toBe<WebSocket>()
    expect(request.wsAuth).type.not.toBe<null>()
    socket.close()
  })
  app.get('/', { websocket: true, wsAuth: true }, async () => {})
  app.get('/', { websocket: true, wsAuth: false }, () => {})
  app.get('/', { websocket: true, wsAuth: 'optional' }, () => {})
  app.get('/', { websocket: true }, () => {})
})

test('app.route takes wsAuth beside websocket: true', () => {
  app.route({
    method: 'GET',
    url: '/',
    websocket: true,
    wsAuth: { scopes: ['chat:read'] },
    handler (socket) {
      expect(socket).type.toBe<WebSocket>()
    }
  })
})

test('app.route takes wsAuth beside wsHandler', () => {
  app.route({
    method: 'GET',
    url: '/',
    wsAuth: 'optional',
    handler: async () => ({}),
    wsHandler (socket, request) {
      expect(socket).type.toBe<WebSocket>()
      expect(request.wsAuth).type.not.toBe<null>()
    }
  })
})

test('a wrong wsAuth is an error in each kind of route', () => {
  expect(app.get).type.not.toBeCallableWith('/', { websocket: true, wsAuth: 'yes' }, () => {})
  expect(app.get).type.not.toBeCallableWith('/', { websocket: true, wsAuth: { role: ['member'] } }, () => {})
  expect(app.route).type.not.toBeCallableWith({ method: 'GET', url: '/', websocket: true, wsAuth: 'yes', handler () {} })
  expect(app.route).type.not.toBeCallableWith({ method: 'GET', url: '/', wsAuth: 'yes', handler () {}, wsHandler () {} })

  // @ts-expect-error Type '"yes"' is not assignable to type
  readShorthand({ websocket: true, wsAuth: 'yes' })
  // @ts-expect-error 'role' does not exist in type
  readShorthand({ websocket: true, wsAuth: { role: ['member'] } })
  // @ts-expect-error Object literal may only specify known properties
  readShorthand({ websocket: true, wsauth: true })
  // @ts-expect-error 'scope' does not exist in type
  readRoute({ method: 'GET', url: '/', wsAuth: { scope: 'chat' }, handler () {} })
})

test('a wrong type of a route option is an error', () => {
  expect<RouteWsAuth>().type.not.toBeAssignableFrom<string>()
  expect<RouteWsAuth>().type.not.toBeAssignableFrom<null>()
  expect<RouteWsAuth>().type.not.toBeAssignableFrom<{ roles: string }>()
  expect<RouteWsAuth>().type.not.toBeAssignableFrom<{ roles: number[] }>()
  expect<RouteWsAuth>().type.not.toBeAssignableFrom<{ scopes: string }>()
  expect<RouteWsAuth>().type.not.toBeAssignableFrom<{ authorize: boolean }>()
  expect<RouteWsAuth>().type.not.toBeAssignableFrom<{ authorize: () => string }>()
  expect<RouteWsAuth>().type.not.toBeAssignableFrom<{ token: { query: number } }>()
  expect<RouteWsAuth>().type.not.toBeAssignableFrom<{ origin: RegExp }>()
  expect<RouteWsAuth>().type.not.toBeAssignableFrom<{ rejectWith: 'status' }>()
  expect<RouteWsAuth>().type.not.toBeAssignableFrom<{ closeCodes: { unauthorized: string } }>()
})

test('authorize is given the user and the request', () => {
  readWsAuth({
    authorize (user, request) {
      expect(user).type.toBe<FastifyRequest['user']>()
      expect(request).type.toBe<FastifyRequest>()
      return Promise.resolve(true)
    }
  })
})

test('a role is any string until WsAuthTypes says more', () => {
  expect<keyof WsAuthTypes>().type.toBe<never>()
  expect<RouteWsAuth>().type.toBeAssignableFrom<{ roles: string[] }>()
  expect<RouteWsAuth>().type.toBeAssignableFrom<{ roles: readonly ['anything'] }>()
})
