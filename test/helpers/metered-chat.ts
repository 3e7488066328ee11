/*
 * A server with limits on what its clients send, under a clock that the test moves; clients that send frames of every kind; and what
 * reached the app.
 */
import { deflateRawSync } from 'node:zlib'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { WebSocket } from 'ws'
import type { Connection } from '../../lib/connection/connection'
import type fastifyWsAuth from '../../lib/index'
import { sign, start } from './app'
import { onDecision } from './decisions'
import { eventually, moveClock, MovedClock, turn } from './moved-clock'
import { clientFrame, upgrade } from './raw-client'
import type { RawClient } from './raw-client'

type Limits = fastifyWsAuth.WsAuthOptions['limits']

export interface MeteredChat {
  readonly app: FastifyInstance
  readonly clock: MovedClock
  readonly sockets: WebSocket[]
  readonly connections: Connection[]
  /** The texts that reached the app, and `ping` and `pong`. */
  readonly heard: string[]
  /** How connections ended. */
  readonly ends: Array<string | null>
  connect (claims?: Record<string, unknown>, path?: string): Promise<RawClient>
  /** Waits until something has become true. No time goes by. */
  until (isTrue: () => boolean, what: string): Promise<void>
  /** Waits until the server has read all that the clients have sent, and has called the listeners. No time goes by. */
  settle (): Promise<void>
}

const DEFLATE = 'permessage-deflate; client_no_context_takeover; server_no_context_takeover'

/** Starts the server. Each route of `paths` has its own limits. */
export async function startMetered (t: Test, limits: Limits, more: fastifyWsAuth.WsAuthOptions = {}, paths: Record<string, fastifyWsAuth.RouteWsAuth> = {}): Promise<MeteredChat> {
  const sockets: WebSocket[] = []
  const connections: Connection[] = []
  const heard: string[] = []
  let clock: MovedClock | null = null
  const { app, port } = await start(t, {
    before: () => { clock = moveClock(t) },
    plugin: { limits, websocket: { options: { perMessageDeflate: { threshold: 0 } } }, ...more },
    routes: (app) => {
      for (const [url, wsAuth] of Object.entries({ '/chat': true, ...paths })) {
        app.get(url, { websocket: true, wsAuth }, (socket, request) => {
          sockets.push(socket)
          if (request.wsAuth !== null) connections.push(request.wsAuth)
          socket.on('message', (data) => { heard.push(String(data)) })
          socket.on('ping', () => { heard.push('ping') })
          socket.on('pong', () => { heard.push('pong') })
        })
      }
    }
  })
  const moved = clock as unknown as MovedClock
  const ends: Array<string | null> = []
  onDecision(t, ({ event, reason }) => { if (event === 'expired' || event === 'closed') ends.push(reason) })
  const connect = async (claims: Record<string, unknown> = {}, path = '/chat'): Promise<RawClient> => {
    const authorization = claims.sub === null ? undefined : `Bearer ${sign({ sub: 'ann', ...claims })}`
    const client = await upgrade(t, port, { path, headers: { authorization, 'sec-websocket-extensions': DEFLATE } })
    t.equal(client.answer.status, 101)
    return client
  }
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 10; i++) {
      await turn(5)
      moved.run()
    }
  }
  return { app, clock: moved, sockets, connections, heard, ends, connect, settle, until: async (isTrue, what) => await eventually(moved, isTrue, what) }
}

/** Any frame, masked with zeros. @param head the first byte */
export function anyFrame (head: number, payload: Buffer | string): Buffer {
  const frame = clientFrame(0, payload)
  frame[0] = head
  return frame
}

/** A compressed text. */
export function compressedFrame (text: string): Buffer {
  const deflated = deflateRawSync(text, { finishFlush: 2 })
  return anyFrame(0xC1, deflated.subarray(0, deflated.length - 4))
}

/** One frame of each kind that a client may send. Those of one message come in order. */
export const KINDS: Record<string, (i: number) => Buffer> = {
  'short texts': () => clientFrame(1, 'x'),
  'empty texts': () => clientFrame(1, ''),
  'binary messages': () => clientFrame(2, Buffer.alloc(200)),
  pings: () => clientFrame(9, ''),
  pongs: () => clientFrame(10, 'x'),
  'fragments of one byte': (i) => anyFrame(i === 0 ? 0x01 : 0x00, 'x'),
  'empty fragments': (i) => anyFrame(i === 0 ? 0x01 : 0x00, ''),
  'compressed texts': () => compressedFrame('x'.repeat(1000)),
  'auth frames': () => clientFrame(1, '{"type":"auth.ping"}')
}
