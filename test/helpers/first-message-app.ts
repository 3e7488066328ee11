/*
 * A route that waits for a first message, and a client that it waits for.
 */
import fastifyWsAuth from '../../lib/index'
import { sign, start } from './app'
import { turn } from './moved-clock'
import type { AppSettings, StartedApp } from './app'
import { plain } from './plain-frames'
import { clientFrame, RawClient, upgrade } from './raw-client'
import type { RequestSettings } from './raw-client'
import { statsOf } from './stats'

type Test = Parameters<typeof RawClient.open>[0]
export type Verify = NonNullable<fastifyWsAuth.WsAuthOptions['verify']>
export const TEXT = 1
export const BINARY = 2
export const CLOSE = 8
export const PING = 9
export const OK = '{"type":"auth.ok","expiresAt":null}'
export const TOKEN_INVALID = { code: 3000, reason: 'token_invalid' }
export const never = async (): Promise<never> => await new Promise(() => {})
export const soon = async (): Promise<void> => await new Promise((resolve) => setTimeout(resolve, 20))

export const VERIFIERS: Record<string, Verify> = {
  'a verifier that answers at once': () => ({ sub: 'x' }),
  'a verifier that takes its time': async () => { await soon(); return { sub: 'x' } }
}

/** Until what was sent has arrived; works also while the clock stands still. */
export async function turns (count = 50): Promise<void> {
  await turn(count)
}

export function authFrame (token = sign()): Buffer {
  return clientFrame(TEXT, JSON.stringify({ type: 'auth', token }))
}

/** A frame that others follow. */
export function fragment (opcode: number, payload: string): Buffer {
  const frame = clientFrame(opcode, payload)
  frame[0] = opcode
  return frame
}

export type ChatSettings = Omit<AppSettings, 'plugin'> & { plugin?: fastifyWsAuth.WsAuthOptions, wsAuth?: fastifyWsAuth.RouteWsAuth }

export interface Chat extends StartedApp {
  /** What has reached the handler: that it runs, and each message. */
  readonly heard: string[]
}

/** A route that waits for a first message, and remembers what reaches its handler. */
export async function startChat (t: Test, { plugin = {}, wsAuth = true, ...settings }: ChatSettings = {}): Promise<Chat> {
  const heard: string[] = []
  const started = await start(t, {
    ...settings,
    plugin: { ...plugin, token: { ...plugin.token, message: plugin.token?.message ?? true } },
    routes: (app) => {
      settings.routes?.(app)
      app.get('/chat', { websocket: true, wsAuth }, (socket) => {
        heard.push('handler')
        socket.on('message', (data) => heard.push(String(data)))
      })
    }
  })
  return { ...started, heard }
}

/** A client that is waited for. */
export async function connect (t: Test, { port, app }: Pick<StartedApp, 'port' | 'app'>, settings: RequestSettings = {}): Promise<RawClient> {
  const { pending } = statsOf(app)
  const client = await upgrade(t, port, { path: '/chat', ...settings })
  t.equal(client.answer.status, 101)
  t.equal(statsOf(app).pending, pending + 1, 'a first message is waited for')
  return client
}

export async function text (client: RawClient): Promise<string> {
  const { opcode, payload } = await client.frame()
  if (opcode !== TEXT) throw new Error(`not a text, but opcode ${opcode}: ${payload.toString('latin1')}`)
  return plain(payload.toString())
}

export function assertNobody (t: Test, { app, heard }: Chat): void {
  t.same(heard, [], 'the handler never ran')
  const { connections, pending, accepted } = statsOf(app)
  t.same({ connections, pending, accepted }, { connections: 0, pending: 0, accepted: 0 })
}
