/*
 * What a user declares once for the app. A project of its own: a declaration counts in the whole of it.
 */
import '@fastify/jwt'
import type { FastifyInstance, FastifyRequest, RouteShorthandOptions } from 'fastify'
import type { Connection, WsAuthRole, RouteWsAuth } from 'fastify-ws-auth'
import { expect, test } from 'tstyche'

interface User {
  sub: string
  role: 'admin' | 'member'
}

declare module '@fastify/jwt' {
  interface FastifyJWT { user: User }
}

declare module 'fastify-ws-auth' {
  interface WsAuthTypes { role: 'admin' | 'member' }
}

declare const app: FastifyInstance
declare function readShorthand (options: RouteShorthandOptions): void
declare const request: FastifyRequest
declare const connection: Connection

test('role names are those of WsAuthTypes', () => {
  expect<WsAuthRole>().type.toBe<'admin' | 'member'>()
  expect(app.get).type.toBeCallableWith('/', { websocket: true, wsAuth: { roles: ['admin', 'member'] } }, () => {})
  expect(app.get).type.not.toBeCallableWith('/', { websocket: true, wsAuth: { roles: ['admn'] } }, () => {})
  expect(app.route).type.not.toBeCallableWith({ method: 'GET', url: '/', websocket: true, wsAuth: { roles: ['admn'] }, handler () {} })
  expect(app.route).type.not.toBeCallableWith({ method: 'GET', url: '/', wsAuth: { roles: ['admn'] }, handler () {}, wsHandler () {} })
  expect<RouteWsAuth>().type.not.toBeAssignableFrom<{ roles: string[] }>()
  // @ts-expect-error Type '"admn"' is not assignable to type '"admin" | "member"'.
  readShorthand({ websocket: true, wsAuth: { roles: ['admn'] } })
})

test('the user is that of FastifyJWT, everywhere', () => {
  expect(request.user).type.toBe<User>()
  expect(connection.user).type.toBe<User | null>()
  app.get('/', { websocket: true, wsAuth: { authorize: (user) => user.role === 'admin' } }, (socket, request) => {
    expect(request.user).type.toBe<User>()
    expect(request.wsAuth?.user?.sub).type.toBe<string | undefined>()
    socket.send(request.user.sub)
  })
})

test('a property that the user does not have is an error', () => {
  // @ts-expect-error Property 'email' does not exist on type 'User'.
  app.get('/', { websocket: true }, (socket, request) => { socket.send(request.user.email) })
  // @ts-expect-error Property 'email' does not exist on type 'User'.
  app.get('/', { websocket: true, wsAuth: { authorize: (user) => user.email === '' } }, () => {})
  // @ts-expect-error Property 'email' does not exist on type 'User'.
  connection.user?.email.at(0)
})
