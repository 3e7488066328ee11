/*
 * An app whose connections are attacked: it remembers what reaches its handler, and what would have ended the process.
 */
import { constants, deflateRawSync } from 'node:zlib'
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest } from 'fastify'
import type { Test } from 'tap'
import type { WebSocket } from 'ws'
import type fastifyWsAuth from '../../lib/index'
import { sign, start } from './app'
import { clientFrame, upgrade } from './raw-client'
import type { RawClient } from './raw-client'

export const TEXT = 1
export const MIB = 2 ** 20
export const AUTHORIZED = { authorization: `Bearer ${sign()}` }
export const DEFLATE = { 'sec-websocket-extensions': 'permessage-deflate; client_no_context_takeover' }

export function authFrame (token = sign()): Buffer {
  return clientFrame(TEXT, JSON.stringify({ type: 'auth', token }))
}

/** A text frame as a client sends it with permessage-deflate (RFC 7692): the bytes a megabyte of one letter takes are a thousand. */
export function deflatedFrame (text: string): Buffer {
  const deflated = deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH })
  const frame = clientFrame(TEXT, deflated.subarray(0, deflated.length - 4))
  frame[0] = (frame[0] ?? 0) | 0x40
  return frame
}

export interface Chat {
  readonly app: FastifyInstance
  readonly port: number
  readonly heard: string[]
  readonly sockets: WebSocket[]
  readonly requests: FastifyRequest[]
}

/** A route that remembers what reaches its handler. */
export async function startChat (t: Test, plugin: fastifyWsAuth.WsAuthOptions = {}): Promise<Chat> {
  const heard: string[] = []
  const sockets: WebSocket[] = []
  const requests: FastifyRequest[] = []
  const { app, port } = await start(t, {
    plugin,
    routes: (app) => {
      app.get('/chat', { websocket: true }, (socket, request) => {
        heard.push('handler')
        sockets.push(socket)
        requests.push(request)
        socket.on('message', (data) => heard.push(String(data)))
      })
    }
  })
  return { app, port, heard, sockets, requests }
}

export async function turns (count = 50): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

/** Crashes of the process that would have been, for as long as a test runs. */
export function catchCrashes (t: Test): unknown[] {
  const crashes: unknown[] = []
  const onCrash = (error: unknown): void => { crashes.push(error) }
  const events = ['uncaughtException', 'unhandledRejection'] as const
  const before = events.map((event) => process.rawListeners(event))
  for (const event of events) process.removeAllListeners(event).on(event, onCrash)
  t.teardown(() => {
    events.forEach((event, i) => {
      process.removeAllListeners(event)
      for (const listener of before[i] ?? []) process.on(event, listener as () => void)
    })
  })
  return crashes
}

/** A logger each function of which throws, once it is told to. */
export function throwingLogger (): { logger: FastifyBaseLogger, arm: () => void, calls: () => number } {
  let isArmed = false
  let calls = 0
  const write = (): void => {
    if (!isArmed) return
    calls++
    throw new Error('the disk is full')
  }
  const logger = { level: 'trace', silent: write, trace: write, debug: write, info: write, warn: write, error: write, fatal: write, child: () => logger } as unknown as FastifyBaseLogger
  return { logger, arm: () => { isArmed = true }, calls: () => calls }
}

export const NOW = Math.floor(Date.now() / 1000)
export const CLAIMS = { sub: 'ann', iat: NOW - 10, exp: NOW + 600 }
export const NO_TOKEN = clientFrame(TEXT, '{"type":"auth"}')

export interface Flooded {
  readonly app: FastifyInstance
  readonly client: RawClient
  readonly heard: string[]
  readonly calls: () => number
  readonly crashes: unknown[]
}

/** An app with one open connection, the logger of which throws from now on. */
export async function openFlooded (t: Test, plugin: fastifyWsAuth.WsAuthOptions = {}, token = sign(CLAIMS)): Promise<Flooded> {
  const crashes = catchCrashes(t)
  const { logger, arm, calls } = throwingLogger()
  const heard: string[] = []
  const { app, port } = await start(t, {
    server: { logger: undefined as never, loggerInstance: logger, disableRequestLogging: true },
    plugin: { renewal: true, ...plugin },
    routes: (app) => { app.get('/chat', { websocket: true }, (socket) => { socket.on('message', (data) => heard.push(String(data))) }) }
  })
  const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${token}` } })
  await client.frame()
  arm()
  return { app, client, heard, calls, crashes }
}
