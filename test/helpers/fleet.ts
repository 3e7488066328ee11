/*
 * Some instances of an app, each a process with a server of its own, and a process with their clients.
 */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { redisBackplane } from '../../lib/backplane/redis/index'
import { SECRET, until } from './app'
import { randomFrom } from './random'
import { now } from './fleet-clients'
import type { Closed, Order } from './fleet-clients'

/** What a server is asked to do. */
export interface Call {
  readonly method: 'revoke' | 'disconnect' | 'drain'
  /** Of a drain, its options. */
  readonly match: object
  readonly options?: object
}

/** What came of it: when it was called, when it resolved (ms), and how many were open on the instance after it. */
export interface Called {
  readonly startedAt: number
  readonly endedAt: number
  readonly size: number
  readonly result: fastifyWsAuth.CommandResult
}

/** A process with a server. */
export class ServerProcess {
  readonly #child: ChildProcess
  readonly port: number

  private constructor (child: ChildProcess, port: number) {
    this.#child = child
    this.port = port
  }

  /** @param seed determines its `Math.random`. Default: nothing does */
  static async start (t: Test, redisPath: string | null, seed: number | null = null): Promise<ServerProcess> {
    const child = start(t, __filename, redisPath ?? '', String(seed ?? ''))
    const [port] = await once(child, 'message') as [number]
    return new ServerProcess(child, port)
  }

  /** One at a time. */
  async call (call: Call): Promise<Called> {
    this.#child.send(call)
    return (await once(this.#child, 'message') as [Called])[0]
  }

  end (): void {
    this.#child.kill('SIGKILL')
  }
}

/** A process with clients. */
export class ClientProcess {
  readonly #child: ChildProcess
  /** Those that were closed. */
  readonly closed: Closed[] = []
  #opened = 0
  #settled = 0

  constructor (t: Test) {
    this.#child = start(t, require.resolve('./fleet-clients'))
    this.#child.on('message', (message: Closed | boolean) => {
      if (typeof message === 'object') return this.closed.push(message)
      this.#settled++
      if (message) this.#opened++
    })
  }

  /** Opens one for each token, and resolves to how many were let in. One call at a time. */
  async open (port: number, tokens: Order['tokens']): Promise<number> {
    const [opened, settled] = [this.#opened, this.#settled + tokens.length]
    this.#child.send({ port, tokens } satisfies Order)
    await until(() => this.#settled === settled, 'all have been answered', 60_000)
    return this.#opened - opened
  }

  end (): void {
    this.#child.kill('SIGKILL')
  }
}

function start (t: Test, file: string, ...args: string[]): ChildProcess {
  const child = fork(file, args, {
    execArgv: process.execArgv.filter((arg) => arg.includes('@tapjs/typescript')),
    env: { ...process.env, NODE_OPTIONS: '' }
  })
  t.teardown(() => { child.kill('SIGKILL') })
  return child
}

async function serve (path: string, seed: string): Promise<void> {
  if (seed !== '') Math.random = randomFrom(Number(seed))
  const app = Fastify()
  const client = path === '' ? null : new Redis({ path })
  client?.on('error', () => {})
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, ...(client === null ? {} : { backplane: redisBackplane({ client }) }) })
  app.get('/chat', { websocket: true }, () => {})
  await app.listen({ port: 0, host: '127.0.0.1' })
  process.on('message', ({ method, match, options }: Call) => {
    const startedAt = now()
    const call = app.wsAuth[method] as (match: object, options?: object) => Promise<fastifyWsAuth.CommandResult>
    void call(match, options).then((result) => {
      process.send?.({ startedAt, endedAt: now(), size: app.wsAuth.connections.size, result } satisfies Called)
    })
  })
  process.send?.((app.server.address() as AddressInfo).port)
}

if (require.main === module) void serve(process.argv[2] ?? '', process.argv[3] ?? '')
