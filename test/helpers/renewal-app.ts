/*
 * A chat to renew connections of, from both of its ends: what the server sees of a connection, and what the client gets.
 */
import { once } from 'node:events'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Test } from 'tap'
import { Clock } from '@tapjs/clock'
import { WebSocket } from 'ws'
import type { ClientOptions } from 'ws'
import type fastifyWsAuth from '../../lib/index'
import { start } from './app'
import type { AppSettings, StartedApp } from './app'
import { turn } from './moved-clock'

export { turn }

const { Date: RealDate } = globalThis
/** How long anything that is waited for may take, by the real clock. */
const TIMEOUT = 60_000

/** Has the test move the clock, until it ends. To be called after the app was started: Fastify's start waits for timers. */
export function moveClock (t: Test): Clock {
  const clock = new Clock()
  clock.travel(RealDate.now())
  clock.enter()
  t.teardown(() => clock.exit())
  return clock
}

/** Waits for something to become true, whoever moves the clock. */
export async function eventually (isTrue: () => boolean, what: string): Promise<void> {
  const deadline = RealDate.now() + TIMEOUT
  while (!isTrue()) {
    if (RealDate.now() > deadline) throw new Error(`not within ${TIMEOUT} ms: ${what}`)
    await turn()
  }
}

/** Something to wait for that a test releases. */
export interface Hold {
  wait: () => Promise<void>
  release: () => void
}

export function hold (): Hold {
  let release = (): void => {}
  const released = new Promise<void>((resolve) => { release = resolve })
  return { wait: async () => await released, release }
}

/** An answer to an auth frame. */
export interface Answer {
  readonly type: string
  readonly id?: unknown
  readonly connection?: string
  readonly expiresAt?: number | null
  readonly expiresIn?: number | null
  readonly endsIn?: number | null
  readonly code?: string
  readonly reason?: string
}

/** An open connection. */
export interface Chat {
  readonly client: WebSocket
  readonly request: FastifyRequest
  readonly connection: fastifyWsAuth.Connection
  readonly socket: WebSocket
  /** What the server's handler got. */
  readonly got: string[]
  /** What the client got. */
  readonly received: string[]
  /** How the client was closed. */
  readonly closed: { code: number | null, reason: string }
  /** The `auth.ok` at the open connection; `null` if the server does not speak frames with this client. */
  readonly greeting: Answer | null
  /** Waits for the next message that the client gets, and takes it. */
  next: () => Promise<string>
  /** Sends an auth frame, and waits for its answer. */
  renewByFrame: (token: unknown) => Promise<Answer>
  /** Sends an auth frame of these properties, and waits for its answer. */
  auth: (frame: Record<string, unknown>) => Promise<Answer>
  /** Whether a message still gets through. */
  isHeard: () => Promise<boolean>
}

/** The options of ws, and the subprotocols that the client offers. */
export type ChatClientOptions = ClientOptions & { protocols?: string[] }

export interface ChatApp extends StartedApp {
  connect: (token: string | null, options?: ChatClientOptions) => Promise<Chat>
}

export interface ChatSettings extends Omit<AppSettings, 'routes'> {
  wsAuth?: fastifyWsAuth.RouteWsAuth
  routes?: (app: FastifyInstance) => unknown
}

export async function startChat (t: Test, { wsAuth = true, routes, ...settings }: ChatSettings = {}): Promise<ChatApp> {
  const opened: Array<Pick<Chat, 'socket' | 'request' | 'got'>> = []
  const started = await start(t, {
    ...settings,
    routes: async (app) => {
      await routes?.(app)
      app.get('/chat', { websocket: true, wsAuth }, (socket, request) => {
        const got: string[] = []
        socket.on('message', (data, isBinary) => {
          got.push(`${isBinary ? 'binary ' : ''}${String(data)}`)
          socket.send(`got ${String(data)}`)
        })
        opened.push({ socket, request, got })
      })
    }
  })
  return { ...started, connect: async (token, options) => await connectChat(t, started.port, opened, token, options) }
}

async function connectChat (t: Test, port: number, opened: Array<Pick<Chat, 'socket' | 'request' | 'got'>>, token: string | null, { protocols = [], ...options }: ChatClientOptions = {}): Promise<Chat> {
  const headers = token === null ? {} : { authorization: `Bearer ${token}` }
  const client = new WebSocket(`ws://127.0.0.1:${port}/chat`, protocols, { ...options, headers: { ...options.headers, ...headers } as Record<string, string> })
  t.teardown(() => client.terminate())
  const received: string[] = []
  const closed: Chat['closed'] = { code: null, reason: '' }
  client.on('message', (data) => received.push(String(data)))
  client.on('close', (code, reason) => Object.assign(closed, { code, reason: String(reason) }))
  client.on('error', () => {})
  await Promise.race([once(client, 'open'), once(client, 'close').then(() => { throw new Error('it was refused') })])
  await eventually(() => opened.length > 0, 'the handler is run')
  const { socket, request, got } = opened.shift() as Chat
  const connection = request.wsAuth as fastifyWsAuth.Connection
  const next = async (): Promise<string> => {
    await eventually(() => received.length > 0 || closed.code !== null, 'the client gets a message')
    return received.shift() ?? `closed ${closed.code} ${closed.reason}`
  }
  const nextAuth = async (): Promise<string> => {
    const isAuth = (text: string): boolean => /^\{"type":"auth\.(?:ok|error)"/.test(text)
    await eventually(() => received.some(isAuth) || closed.code !== null, 'an answer to an auth frame')
    const index = received.findIndex(isAuth)
    if (index === -1) throw new Error(`closed with ${closed.code} ${closed.reason}`)
    return received.splice(index, 1)[0] as string
  }
  const auth = async (frame: Record<string, unknown>): Promise<Answer> => {
    client.send(JSON.stringify({ type: 'auth', ...frame }))
    return JSON.parse(await nextAuth())
  }
  const { hasFrames } = connection as unknown as { hasFrames: boolean }
  const greeting = hasFrames ? JSON.parse(await nextAuth()) : null
  let count = 0
  return {
    client,
    request,
    connection,
    socket,
    got,
    received,
    closed,
    greeting,
    next,
    auth,
    renewByFrame: async (token) => await auth({ token }),
    isHeard: async () => {
      const text = `message ${++count}`
      if (client.readyState !== WebSocket.OPEN) return false
      client.send(text)
      await eventually(() => received.includes(`got ${text}`) || closed.code !== null, 'an answer, or the end')
      const index = received.indexOf(`got ${text}`)
      if (index !== -1) received.splice(index, 1)
      return index !== -1
    }
  }
}
