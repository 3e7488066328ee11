/*
 * An app that is closed while clients of each kind are connected.
 */
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { WebSocket } from 'ws'
import type fastifyWsAuth from '../../lib/index'
import { sign, start } from './app'
import type { AppSettings, StartedApp } from './app'
import { clientFrame, upgrade } from './raw-client'
import type { RawClient } from './raw-client'

export const AUTHORIZED = { authorization: `Bearer ${sign()}` }
export const SHUTDOWN = { code: 1001, reason: 'shutdown' }

export function authFrame (token: string): Buffer {
  return clientFrame(1, JSON.stringify({ type: 'auth', token }))
}

export interface Chat extends StartedApp {
  readonly heard: string[]
}

export async function startChat (t: Test, plugin: fastifyWsAuth.WsAuthOptions = {}, settings: AppSettings = {}): Promise<Chat> {
  const heard: string[] = []
  const listen = (socket: WebSocket): void => { socket.on('message', (data) => heard.push(String(data))) }
  const started = await start(t, {
    ...settings,
    plugin: { renewal: true, token: { message: true }, ...plugin },
    routes: (app: FastifyInstance) => {
      app.get('/chat', { websocket: true }, listen)
      app.get('/public', { websocket: true, wsAuth: false }, listen)
      app.get('/optional', { websocket: true, wsAuth: 'optional' }, listen)
      app.get('/refused', { websocket: true, wsAuth: { rejectWith: 'close', token: { message: false } } }, listen)
    }
  })
  return { ...started, heard }
}

/** One client of each kind, open; each answers to nothing by itself. */
export async function openAll (t: Test, port: number): Promise<Record<string, RawClient>> {
  const opened = async (path: string, headers = {}): Promise<RawClient> => {
    const client = await upgrade(t, port, { path, headers })
    t.equal(client.answer.status, 101)
    return client
  }
  const first = await opened('/chat')
  first.send(authFrame(sign({ sub: 'by message' })))
  t.match(String((await first.frame()).payload), 'auth.ok')
  return {
    'by header': await opened('/chat', AUTHORIZED),
    'by first message': first,
    anonymous: await opened('/optional'),
    'on a public route': await opened('/public'),
    'that waits for a first message': await opened('/chat')
  }
}
