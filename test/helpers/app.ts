/*
 * An app that listens on a port of its own, remembers its log, and is closed when the test ends.
 */
import { createHmac } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'

/** The key of all tokens of the tests: as long as its hash. */
export const SECRET = 'thirty-two bytes of test secret!'

export interface AppSettings {
  /** Options of the plugin, beside `jwt`. With `verify` there is no `jwt`. */
  plugin?: fastifyWsAuth.WsAuthOptions
  /** Options of Fastify. The log is at level trace. */
  server?: FastifyServerOptions
  /** What is declared before the plugin is registered. */
  before?: (app: FastifyInstance) => unknown
  /** What is declared after. */
  routes?: (app: FastifyInstance) => unknown
}

export interface StartedApp {
  readonly app: FastifyInstance
  readonly port: number
  /** The lines of the log, as they were written. */
  readonly log: string[]
}

/** An app that is ready and does not listen: for `inject` and `injectWS`. */
export async function prepare (t: Test, { plugin = {}, server = {}, before, routes }: AppSettings = {}): Promise<Omit<StartedApp, 'port'>> {
  const log: string[] = []
  const stream = { write: (line: string): void => { log.push(line) } }
  const app = Fastify({ logger: { level: 'trace', stream }, ...server })
  t.teardown(() => app.close())
  await before?.(app)
  await app.register(fastifyWsAuth, plugin.verify === undefined ? { jwt: { secret: SECRET }, ...plugin } : plugin)
  await routes?.(app)
  await app.ready()
  return { app, log }
}

/** An app that listens on a free port of the loopback interface. */
export async function start (t: Test, settings: AppSettings = {}): Promise<StartedApp> {
  const { app, log } = await prepare(t, settings)
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, log, port: (app.server.address() as AddressInfo).port }
}

/** A JWT, signed with HS256; without claims of its own it is somebody's. @param header more for its header */
export function sign (claims: Record<string, unknown> = { sub: 'somebody' }, secret = SECRET, header: Record<string, unknown> = {}): string {
  const input = [{ alg: 'HS256', typ: 'JWT', ...header }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
}

/** How often is looked, in milliseconds. On a busy machine a turn takes longer, and so does what is waited for: turns are counted, not the time. */
const TURN = 5

/** Resolves when something has become true, and fails the test when it does not within so many milliseconds of turns. */
export async function until (isTrue: () => boolean, what: string, timeout = 60_000): Promise<void> {
  for (let turns = timeout / TURN; !isTrue(); turns--) {
    if (turns <= 0) throw new Error(`not within ${timeout} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, TURN))
  }
}

/** What a promise resolves to, or a failure where it takes longer than so many milliseconds of turns. */
export async function within<T> (timeout: number, what: string, promise: PromiseLike<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    let turns = timeout / TURN
    timer = setInterval(() => { if (--turns <= 0) reject(new Error(`not within ${timeout} ms: ${what}`)) }, TURN)
  })
  return Promise.race([promise, late]).finally(() => clearInterval(timer))
}
