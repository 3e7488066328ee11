/*
 * The routes of the rooms, and what admins see and do. Each instance has rooms of its own: sharing the messages by Redis is
 * another subject.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { FastifyInstance } from 'fastify'
import { authenticate, checkAdmin, checkOrigin } from './guards'
import { createLimit } from './rate'
import { Room, viewOf } from './room'

export function addRooms (app: FastifyInstance): void {
  const members = new Room()
  const admins = new Room()
  app.get('/members', { websocket: true, wsAuth: { roles: ['member'] } }, members.enter)
  app.get('/admins', { websocket: true, wsAuth: { roles: ['admin'] } }, admins.enter)
  // A browser adds the cookie to every handshake. Here only a token that the page itself has sent counts.
  app.get('/members/no-cookie', { websocket: true, wsAuth: { roles: ['member'], token: { cookie: false } } }, members.enter)
  // A client without a token in the handshake may send one in the first message, within 5 s. It is in no room before.
  const token = { cookie: false, message: { timeout: 5000 } }
  app.get('/members/first-message', { websocket: true, wsAuth: { roles: ['member'], token } }, members.enter)

  // The connections of this instance. There is no list of all.
  app.get('/connections', { onRequest: authenticate }, async ({ user }) => {
    const { connections, stats } = app.wsAuth
    if (user.roles.includes('admin')) return { connections: [...connections].map(viewOf), stats: stats() }
    return { connections: connections.bySub(user.sub).map(viewOf), stats: null }
  })

  // A connection of any instance.
  const params = { type: 'object', properties: { id: { type: 'string', minLength: 1 } } }
  app.post<{ Params: { id: string } }>('/connections/:id/disconnect', { onRequest: [checkOrigin, authenticate, checkAdmin], schema: { params } }, async ({ params: { id } }) => {
    return await app.wsAuth.disconnect({ id })
  })

  // The plugin's decisions, in all apps of the process. They hold no token. The limit is there because any client can
  // cause refusals.
  const mayTell = createLimit(20, 1000)
  const tellAdmins = (event: unknown): void => { if (mayTell('')) admins.tell({ type: 'event', event }) }
  subscribe('fastify-ws-auth', tellAdmins)
  app.addHook('onClose', async () => { unsubscribe('fastify-ws-auth', tellAdmins) })
}
