/*
 * A server for the tests of standards, and what its handshakes are answered with.
 */
import type { Test } from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { sign, start } from './app'
import type { AppSettings, StartedApp } from './app'
import { base64url } from './keys'
import { upgrade } from './raw-client'
import type { RawResponse, RequestSettings } from './raw-client'

export const TOKEN = sign({ sub: 'ann' })
export const AUTHORIZED = { authorization: `Bearer ${TOKEN}` }
export const INVALID = '401 WS_AUTH_TOKEN_INVALID'

/** A server with the route /chat, which says who is there and says again what it hears. */
export async function serve (t: Test, plugin: fastifyWsAuth.WsAuthOptions = {}, wsAuth: fastifyWsAuth.RouteWsAuth = true, more: Omit<AppSettings, 'plugin'> = {}): Promise<StartedApp> {
  return await start(t, {
    ...more,
    plugin,
    routes: async (app) => {
      await more.routes?.(app)
      app.get('/chat', { websocket: true, wsAuth }, (socket, request) => {
        socket.send(`hello ${request.wsAuth?.sub ?? 'nobody'}`)
        socket.on('message', (data) => socket.send(String(data)))
      })
    }
  })
}

/** What a handshake is answered with: the status, and the code of a refusal. */
export function told ({ status, body }: RawResponse): string {
  return status === 101 ? '101' : `${status} ${JSON.parse(body).code}`
}

export async function shake (t: Test, port: number, { headers, ...settings }: RequestSettings = {}): Promise<string> {
  const { answer } = await upgrade(t, port, { path: '/chat', ...settings, headers: { ...AUTHORIZED, ...headers } })
  return told(answer)
}

export async function present (t: Test, port: number, token: string): Promise<string> {
  return await shake(t, port, { headers: { authorization: `Bearer ${token}` } })
}

/** A token signed by any means. */
export function signedBy (header: object, claims: object, means: (input: Buffer) => Buffer): string {
  const input = `${base64url(JSON.stringify(header))}.${base64url(JSON.stringify(claims))}`
  return `${input}.${base64url(means(Buffer.from(input)))}`
}
