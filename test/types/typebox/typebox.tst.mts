/*
 * A TypeBox schema for the claims, which types the user and the roles of the routes. A project of its own: a declaration counts in the
 * whole of it.
 */
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import type { RouteWsAuth, WsAuthOptions, WsAuthRole, WsAuthUser } from 'fastify-ws-auth'
import { expect, test } from 'tstyche'
import { Type } from 'typebox'
import type { Static } from 'typebox'

const claims = Type.Object({ sub: Type.String(), tenant: Type.String(), roles: Type.Array(Type.Union([Type.Literal('member'), Type.Literal('admin')])) })
type User = Static<typeof claims>

declare module 'fastify-ws-auth' {
  interface WsAuthTypes { user: User, role: User['roles'][number] }
}

declare const plain: FastifyInstance
declare function readOptions (options: WsAuthOptions): void
const app = plain.withTypeProvider<TypeBoxTypeProvider>()
const schema = { querystring: Type.Object({ room: Type.String() }) }

test('the schema is an option, and a user of its type is one', () => {
  expect(readOptions).type.toBeCallableWith({ claims })
  readOptions({ claims, user: (given) => given as User })
  expect(readOptions).type.not.toBeCallableWith({ claims, user: () => ({ sub: 'ann' }) })
})

test('the user and the roles are those of the schema', () => {
  expect<WsAuthUser>().type.toBe<User>()
  expect<WsAuthRole>().type.toBe<'member' | 'admin'>()
  expect<RouteWsAuth>().type.not.toBeAssignableFrom<{ roles: ['admn'] }>()
})

test('a websocket route of the type provider has the user of the claims and the query of its own schema', () => {
  app.get('/', { websocket: true, wsAuth: { roles: ['member'], authorize: (user) => user.tenant !== '' }, schema }, (socket, request) => {
    expect(request.user).type.toBe<User>()
    expect(request.query.room).type.toBe<string>()
    socket.send(request.user.tenant)
  })
  expect(app.get).type.not.toBeCallableWith('/', { websocket: true, wsAuth: { roles: ['admn'] } }, () => {})
})
