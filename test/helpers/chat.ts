/*
 * A websocket route that greets and says again what it hears, and what tests of its handshakes share.
 */
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import fastifyWsAuth from '../../lib/index'
import { sign } from './app'
import { RawClient } from './raw-client'

export const TOKEN = sign()
export const AUTHORIZED = { authorization: `Bearer ${TOKEN}` }
export const UNAVAILABLE = '{"statusCode":503,"code":"WS_AUTH_UNAVAILABLE","error":"Service Unavailable","message":"Authentication is unavailable"}'
export const NOT_WEBSOCKET = '{"statusCode":404,"code":"WS_AUTH_ROUTE_NOT_WEBSOCKET","error":"Not Found","message":"This route does not speak WebSocket"}'
export const AMBIGUOUS = '{"statusCode":400,"code":"WS_AUTH_TOKEN_AMBIGUOUS","error":"Bad Request","message":"The handshake carries more than one token"}'

/** A websocket route that greets, and says again what it hears. */
export function addChat (app: FastifyInstance, url = '/chat', wsAuth: fastifyWsAuth.RouteWsAuth = true): void {
  app.get(url, { websocket: true, wsAuth }, (socket, request) => {
    socket.send(`hello ${JSON.stringify(request.params)} ${request.wsAuth?.source ?? 'nobody'}`)
    socket.on('message', (data) => socket.send(String(data)))
  })
}

/** What the server says first over an accepted connection. */
export async function greeting (client: RawClient): Promise<string> {
  return (await client.frame()).payload.toString()
}

/** The server's sides of all connections, in the order in which they came. */
export function serverSockets (app: FastifyInstance): Socket[] {
  const sockets: Socket[] = []
  app.server.on('connection', (socket) => sockets.push(socket))
  return sockets
}

/** A verifier that waits for the test. */
export function heldVerifier (): { verify: NonNullable<fastifyWsAuth.WsAuthOptions['verify']>, asked: AbortSignal[], settle: (answer: object) => void, reject: (error: Error) => void } {
  const asked: AbortSignal[] = []
  const held: Array<{ resolve: (answer: object) => void, reject: (error: Error) => void }> = []
  return {
    asked,
    verify: async (_token, _request, { signal }) => {
      asked.push(signal)
      return await new Promise<object>((resolve, reject) => held.push({ resolve, reject }))
    },
    settle: (answer) => { for (const { resolve } of held) resolve(answer) },
    reject: (error) => { for (const { reject } of held) reject(error) }
  }
}

/** Until everything that is due in this process has run. */
export async function turns (): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
}
