/*
 * Ten thousand connections: a process for the server and one for the clients, so that each has its own descriptors,
 * neither waits for the other, and none is slowed down by what watches a test. The clients speak by hand: a library
 * would cost more than the server.
 */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { subscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { SECRET } from './app'
import { openClosing } from './closing-client'

/** How many handshakes are under way at once: below the default of `limits.pending`. */
const AT_ONCE = 200

/** When it was (ms since the epoch), by why. */
export type Times = Record<string, number[]>

interface Order {
  readonly port: number
  readonly token: string
  readonly count: number
}

export interface Crowd {
  /** Opens so many connections, and resolves to how many there are. */
  open (token: string, count: number): Promise<number>
  /** Resolves when all have been closed: when the server decided it, by reason, and when the clients knew, by `<code> <reason>`. */
  closed (): Promise<{ decided: Times, closed: Times }>
}

/** Starts the processes; they end with the test. */
export async function gather (t: Test): Promise<Crowd> {
  const server = start(t, 'server')
  const clients = start(t, 'clients')
  const [[port]] = await Promise.all([once(server, 'message'), once(clients, 'message')]) as [[number], unknown]
  return {
    open: async (token, count) => {
      clients.send({ port, token, count } satisfies Order)
      return (await once(clients, 'message'))[0] as number
    },
    closed: async () => {
      const [closed] = await once(clients, 'message') as [Times]
      server.send('report')
      const [decided] = await once(server, 'message') as [Times]
      return { decided, closed }
    }
  }
}

function start (t: Test, role: string): ChildProcess {
  const child = fork(__filename, [role], {
    execArgv: process.execArgv.filter((arg) => arg.includes('@tapjs/typescript')),
    env: { ...process.env, NODE_OPTIONS: '' }
  })
  t.teardown(() => { child.kill('SIGKILL') })
  return child
}

async function serve (): Promise<void> {
  let decided: Times = {}
  subscribe('fastify-ws-auth', (message) => {
    const { event, reason } = message as fastifyWsAuth.WsAuthEvent
    if (event === 'expired' || event === 'closed') (decided[reason as string] ??= []).push(Date.now())
  })
  const app = Fastify()
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET } })
  app.get('/chat', { websocket: true }, () => {})
  await app.listen({ port: 0, host: '127.0.0.1' })
  process.on('message', () => {
    process.send?.(decided)
    decided = {}
  })
  process.send?.((app.server.address() as AddressInfo).port)
}

async function obey (order: Order): Promise<void> {
  const closed: Times = {}
  let [begun, opened, gone] = [0, 0, 0]
  const onClosed = (why: string): void => {
    (closed[why] ??= []).push(Date.now())
    gone++
    report()
  }
  const openMany = async (): Promise<void> => {
    while (begun < order.count) {
      begun++
      if (await openClosing(order.port, order.token, { onGone: onClosed })) opened++
    }
  }
  let isOpen = false
  const report = (): void => { if (isOpen && gone === opened) process.send?.(closed) }
  await Promise.all(Array.from({ length: AT_ONCE }, openMany))
  process.send?.(opened)
  isOpen = true
  report()
}

if (require.main === module) {
  if (process.argv[2] === 'server') {
    void serve()
  } else {
    process.on('message', (order: Order) => { void obey(order) })
    process.send?.('ready')
  }
}
