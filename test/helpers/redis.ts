/*
 * A real Redis of the test's own: started, stopped, killed and cut off by it, and gone when it ends. It listens on a socket in
 * a folder, so that it finds its place again after a restart.
 */
import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import { createClient } from 'redis'
import { until } from './app'
import { startProxy as startProxyTo } from './proxy'
import type { Proxy } from './proxy'

export type { Proxy }

const EXECUTABLE = process.env.REDIS_SERVER_PATH || 'redis-server'

interface Tearing { teardown (end: () => unknown): void }

/** Why there can be no test with Redis here, or `false`. Where it is expected to run (CI) nothing is skipped: it fails. */
export function reasonToSkip (): string | false {
  if (process.env.CI === 'true' || spawnSync(EXECUTABLE, ['--version']).status === 0) return false
  const reason = `NOT TESTED with Redis: there is no ${EXECUTABLE}. Install redis-server or set REDIS_SERVER_PATH`
  console.error(reason)
  return reason
}

export interface RedisSettings {
  /** Whether what it holds outlives a restart. Default false. */
  isPersistent?: boolean
  /** Further settings, such as `['--maxmemory', '1mb']`. */
  settings?: readonly string[]
}

/** A running redis-server. */
export interface RedisServer {
  /** Its unix socket. */
  readonly path: string
  readonly pid: number
  /** A client of ioredis, which is closed when the test ends. */
  client: (options?: RedisOptions) => Redis
  /** A connected client of node-redis, which is closed when the test ends. */
  nodeClient: () => Promise<ReturnType<typeof createClient>>
  /** Ends it: SIGTERM by default. */
  stop: (signal?: 'SIGTERM' | 'SIGKILL') => Promise<void>
  /** Starts it again, in the same place. */
  start: () => Promise<void>
  /** It does not answer any more (SIGSTOP), until it is resumed. */
  pause: () => void
  resume: () => void
}

/** Starts a Redis. */
export async function startRedis (t: Tearing, { isPersistent = false, settings = [] }: RedisSettings = {}): Promise<RedisServer> {
  const folder = mkdtempSync(join(tmpdir(), 'fastify-ws-auth-redis-'))
  const path = join(folder, 'redis.sock')
  let child: ChildProcess | undefined
  const start = async (): Promise<void> => {
    const keeping = isPersistent ? ['--appendonly', 'yes', '--appendfsync', 'always'] : ['--appendonly', 'no']
    child = spawn(EXECUTABLE, ['--port', '0', '--unixsocket', path, '--dir', folder, '--save', '', ...keeping, ...settings], { stdio: ['ignore', 'pipe', 'inherit'] })
    await untilReady(child)
  }
  const stop = async (signal: NodeJS.Signals = 'SIGTERM'): Promise<void> => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill(signal)
    if (signal !== 'SIGKILL') child.kill('SIGCONT')
    await exited
  }
  // What is torn down last was set up first: clients go before their server.
  t.teardown(async () => {
    await stop('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  })
  await start()
  return {
    path,
    get pid () { return child?.pid as number },
    client: (options = {}) => openClient(t, { path, ...options }),
    nodeClient: async () => {
      const client = createClient({ socket: { path, tls: false } })
      client.on('error', () => {})
      t.teardown(() => { client.destroy() })
      await client.connect()
      return client as never
    },
    stop,
    start,
    pause: () => { child?.kill('SIGSTOP') },
    resume: () => { child?.kill('SIGCONT') }
  }
}

/** A client of ioredis, which is closed when the test ends. */
export function openClient (t: Tearing, options: RedisOptions): Redis {
  const client = new Redis(options)
  client.on('error', () => {})
  t.teardown(() => { client.disconnect() })
  return client
}

async function untilReady (child: ChildProcess): Promise<void> {
  let output = ''
  child.stdout?.on('data', (chunk) => { output += String(chunk) })
  await until(() => output.includes('eady to accept connections') || child.exitCode !== null, 'redis-server is ready', 20_000)
  if (child.exitCode !== null) throw new Error(`redis-server ended: ${output}`)
}

/** Puts a proxy before a Redis. */
export function startProxy (t: Tearing, { path }: RedisServer): Promise<Proxy> {
  return startProxyTo(t, { path })
}
