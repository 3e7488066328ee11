/*
 * A Zod schema for the claims, which types the user and the roles of the routes. A project of its own: a declaration counts in the
 * whole of it.
 */
import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import type { RouteWsAuth, WsAuthOptions, WsAuthRole, WsAuthUser } from 'fastify-ws-auth'
import { expect, test } from 'tstyche'
import { z } from 'zod'

const claims = z.object({ sub: z.string(), tenant: z.string(), roles: z.array(z.enum(['member', 'admin'])) })
type User = z.infer<typeof claims>

declare module 'fastify-ws-auth' {
  interface WsAuthTypes { user: User, role: User['roles'][number] }
}

declare const plain: FastifyInstance
declare function readOptions (options: WsAuthOptions): void
const app = plain.withTypeProvider<ZodTypeProvider>()
const schema = { querystring: z.object({ room: z.string() }) }

test('the schema is an option, and what it parses is a user', () => {
  expect(readOptions).type.toBeCallableWith({ claims })
  readOptions({ claims, user: (given) => claims.parse(given) })
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
