/*
 * The types of an app that declares its user and its roles to this package alone. A project of its own: a declaration counts in the
 * whole of it.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { connectionOf, WebSocket } from 'fastify-ws-auth'
import type { Connection, WsAuthOptions, WsAuthUser } from 'fastify-ws-auth'
import { expect, test } from 'tstyche'

interface User {
  sub: string
  name: string
}

declare module 'fastify-ws-auth' {
  interface WsAuthTypes { user: User, role: 'admin' | 'member' }
}

declare const app: FastifyInstance
declare const request: FastifyRequest
declare const connection: Connection
declare const socket: WebSocket
declare function readOptions (options: WsAuthOptions): void

test('the user is that of WsAuthTypes, everywhere', () => {
  expect<WsAuthUser>().type.toBe<User>()
  expect(request.user).type.toBe<User>()
  expect(connection.user).type.toBe<User | null>()
  app.get('/', { websocket: true, wsAuth: { roles: ['admin'], authorize: (user) => user.name !== '' } }, (socket, request) => {
    expect(socket).type.toBe<WebSocket>()
    socket.send(request.user.name)
  })
})

test('the "user" option returns that user, or none', () => {
  readOptions({ user: ({ sub = '' }) => ({ sub, name: 'x' }) })
  readOptions({ user: async () => null })
  expect(readOptions).type.not.toBeCallableWith({ user: () => ({ nope: 1 }) })
  expect(readOptions).type.not.toBeCallableWith({ user: async () => ({ nope: 1 }) })
})

test('the "roles" and "scopes" options may return a claim as it is', () => {
  readOptions({ roles: (claims) => claims.roles, scopes: (claims) => claims.scope })
})

test('connectionOf finds a connection by what a library is handed, and never null', () => {
  expect(connectionOf(socket)).type.toBe<Connection>()
  expect(connectionOf(request)).type.toBe<Connection>()
  expect(connectionOf(request.raw)).type.toBe<Connection>()
  expect(connectionOf).type.not.toBeCallableWith(null)
  expect(connectionOf).type.not.toBeCallableWith('id')
})

test('the socket is that of ws, as a type and as a value', () => {
  expect(socket.readyState === WebSocket.OPEN).type.toBe<boolean>()
  expect(socket).type.not.toHaveProperty('nonsense')
})
