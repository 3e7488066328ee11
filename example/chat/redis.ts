/*
 * What two instances agree by: the Redis of REDIS_URL, or else one of their own, which keeps nothing and ends with them.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'

const TIMEOUT = 9000
const NO_SERVER = 'there is no redis-server to start: install it, or say where a Redis is, REDIS_URL=redis://127.0.0.1:6379 npm start -- --redis'

export interface SharedRedis {
  /** Where it is, in words: an URL may have a password in it. */
  readonly name: string
  /** A client for one instance. */
  connect (): Redis
  /** Closes the clients, and stops the server where it is our own. More than once is once. */
  stop (): Promise<void>
}

/** Rejects where there is none, and says what to do. */
export async function openRedis (url = process.env.REDIS_URL): Promise<SharedRedis> {
  const own = url ? null : await startServer()
  const clients: Redis[] = []
  let why = 'no answer'
  const connect = (): Redis => {
    const client = new Redis(own?.path ?? url ?? '')
    // It goes on trying; what that means for the app the plugin logs.
    client.on('error', ({ message }) => { why = message })
    clients.push(client)
    return client
  }
  const stop = async (): Promise<void> => {
    for (const client of clients.splice(0)) client.disconnect()
    await own?.stop()
  }
  const answered = connect().ping().catch(({ message }: Error) => message)
  const answer = await Promise.race([answered, delay(TIMEOUT, '', { ref: false })])
  if (answer !== 'PONG') {
    await stop()
    throw new Error(`there is no Redis to be used at ${own?.path ?? 'REDIS_URL'}: ${answer || why}`)
  }
  return { name: own === null ? 'the Redis of REDIS_URL' : 'a redis-server of their own', connect, stop }
}

async function startServer (): Promise<{ path: string, stop: () => Promise<void> }> {
  // Nobody else may enter the folder, and so nobody else can reach its socket.
  const folder = mkdtempSync(join(tmpdir(), 'fastify-ws-auth-example-'))
  const path = join(folder, 'redis.sock')
  const settings = ['--port', '0', '--unixsocket', path, '--dir', folder, '--save', '', '--appendonly', 'no']
  // Detached, since Ctrl-C is for us: the instances take leave of each other before it goes.
  const child = spawn('redis-server', settings, { stdio: 'ignore', detached: true })
  const end = (): void => {
    child.kill()
    rmSync(folder, { recursive: true, force: true })
  }
  process.once('exit', end)
  await once(child, 'spawn').catch(({ code, message }: Error & { code?: string }) => {
    throw new Error(code === 'ENOENT' ? NO_SERVER : message)
  })
  const exited = once(child, 'exit')
  return { path, stop: async () => { child.kill(); await exited; end() } }
}
