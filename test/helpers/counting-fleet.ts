/*
 * Instances that count the connections of users together by one Redis, each with its own connections to it: in this process, or each in a
 * process of its own, which can be killed.
 */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { redisBackplane } from '../../lib/backplane/redis/index'
import { SECRET } from './app'

/** What an instance is started with. */
export interface CountingSettings {
  /** How it reaches its Redis. */
  readonly redis: RedisOptions
  readonly max: number
  readonly onLimit: 'reject' | 'close-oldest'
  readonly whenDown?: 'local' | 'reject'
  readonly prefix?: string
}

/** A running instance in this process. */
export interface CountingInstance {
  readonly port: number
}

/** A running instance in a process of its own. */
export interface CountingProcess extends CountingInstance {
  readonly process: ChildProcess
}

/** Starts one in this process. It is closed when the test ends. */
export async function startCounting (t: Test, settings: CountingSettings): Promise<CountingInstance> {
  const { app, client } = await open(settings)
  t.teardown(async () => {
    await app.close()
    client.disconnect()
  })
  return { port: portOf(app) }
}

/** Starts one in a process of its own. It is killed when the test ends. */
export async function forkCounting (t: Test, settings: CountingSettings): Promise<CountingProcess> {
  const child = fork(__filename, [JSON.stringify(settings)], {
    execArgv: process.execArgv.filter((arg) => arg.includes('@tapjs/typescript')),
    env: { ...process.env, NODE_OPTIONS: '' }
  })
  t.teardown(() => { child.kill('SIGKILL') })
  const [port] = await once(child, 'message') as [number]
  return { port, process: child }
}

/** Kills it with -9. Resolves when it is gone, to the time of the kill (performance.now). */
export async function kill ({ process: child }: CountingProcess): Promise<number> {
  const exited = once(child, 'exit')
  const killedAt = performance.now()
  child.kill('SIGKILL')
  await exited
  return killedAt
}

async function open ({ redis, max, onLimit, whenDown = 'reject', ...settings }: CountingSettings): Promise<{ app: FastifyInstance, client: Redis }> {
  const app = Fastify()
  const client = new Redis({ ...redis, maxRetriesPerRequest: null, retryStrategy: () => 50 })
  client.on('error', () => {})
  await app.register(fastifyWsAuth, {
    jwt: { secret: SECRET },
    limits: { perUser: { max, scope: 'cluster', whenDown }, onLimit },
    backplane: redisBackplane({ client, ...settings })
  })
  app.get('/chat', { websocket: true }, () => {})
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, client }
}

function portOf (app: FastifyInstance): number {
  return (app.server.address() as AddressInfo).port
}

async function serve (settings: CountingSettings): Promise<void> {
  const { app } = await open(settings)
  process.on('disconnect', () => process.exit())
  process.send?.(portOf(app))
}

if (require.main === module) void serve(JSON.parse(String(process.argv[2])) as CountingSettings)
