/*
 * A rolling restart as an operator makes it: three instances of example/deploy/server.js behind a proxy with its file of example/deploy, one
 * Redis, and a thousand clients in two processes. Each instance is ended by SIGTERM, drains, and is started again on its port before the
 * next one is ended. With `CLIENT_PART=0.1` there are a hundred clients behind HAProxy alone, and shorter drains.
 */
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { SECRET } from '../helpers/app'
import { reasonToSkip as reasonToSkipProxy, startProxyOf } from '../helpers/deployed-proxies'
import { buildPackage, startFile } from '../helpers/example'
import type { RunningFile } from '../helpers/example'
import { freePorts } from '../helpers/free-port'
import { PART } from '../helpers/part'
import { reasonToSkip as reasonToSkipRedis, startRedis } from '../helpers/redis'
import { startClients } from '../helpers/rolling-clients'
import type { ClientsElsewhere, Told } from '../helpers/rolling-clients'

const CLIENTS = 1000 * PART
const PROCESSES = 2
/** How long an instance drains, in milliseconds. */
const WITHIN = PART < 1 ? 2000 : 6000
/** The life of most tokens, and of those of each tenth client, in seconds. */
const LIFE = 3600
const SHORT_LIFE = PART < 1 ? 10 : 20
const SECOND = 1000

/** A process of example/deploy/server.js on a port that stays. */
class Instance {
  readonly port: number
  readonly #t: Test
  readonly #env: NodeJS.ProcessEnv
  /** What the processes before printed. */
  #before = ''
  #file!: RunningFile

  constructor (t: Test, port: number, redis: string) {
    this.#t = t
    this.port = port
    this.#env = { PORT: String(port), HOST: '127.0.0.1', REDIS_URL: redis, JWT_SECRET: SECRET, TRUST_PROXY: 'loopback', DRAIN_WITHIN: String(WITHIN), NODE_ENV: 'production' }
  }

  async start (): Promise<void> {
    this.#file = await startFile(this.#t, 'deploy/server.js', this.#env)
  }

  /** Ends the process as an orchestrator does, and starts the next one. @returns when it was told to end, and its exit code */
  async replace (): Promise<{ at: number, code: number | null }> {
    const at = Date.now()
    this.#file.signal('SIGTERM')
    const code = await this.#file.ended
    this.#before += this.#file.output()
    await this.start()
    return { at, code }
  }

  /** All lines of the log. */
  get lines (): LogLine[] {
    return (this.#before + this.#file.output()).split('\n').filter((line) => line.startsWith('{') && line.endsWith('}')).map((line) => JSON.parse(line) as LogLine)
  }

  async connections (): Promise<number> {
    const metrics = await (await fetch(`http://127.0.0.1:${this.port}/metrics`)).text()
    const counts = [...metrics.matchAll(/^ws_auth_connections\{[^}]*\} (\d+)$/mg)]
    return counts.length === 0 ? NaN : sum(counts.map(([, count]) => Number(count)))
  }
}

interface LogLine {
  readonly time: number
  readonly msg: string
  readonly closed?: number
  readonly req?: { readonly url: string }
}

/** When instances got a handshake, or a dry run, whatever they answered: ms since the epoch, in order, from an instant on. */
function handshakesOf (instances: readonly Instance[], since: number): number[] {
  return instances.flatMap(({ lines }) => lines).filter(({ time, msg, req }) => time >= since && msg === 'incoming request' && req?.url === '/chat').map(({ time }) => time).sort((a, b) => a - b)
}

/** The most of ascending instants that lie in one second. */
function mostInASecond (instants: readonly number[]): number {
  let most = 0
  for (let first = 0, last = 0; last < instants.length; last++) {
    while ((instants[last] as number) - (instants[first] as number) >= SECOND) first++
    most = Math.max(most, last - first + 1)
  }
  return most
}

/** How many there are of each. */
function countEach (values: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1
  return counts
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0)
const askAll = async (clients: readonly ClientsElsewhere[]): Promise<Told[]> => (await Promise.all(clients.map((some) => some.ask()))).flat()

/** Waits until no client is on its way. */
async function settle (clients: readonly ClientsElsewhere[]): Promise<Told[]> {
  const signal = AbortSignal.timeout(60_000)
  for (;;) {
    const told = await askAll(clients)
    if (told.every(({ status }) => status === 'open' || status === 'refused')) return told
    await delay(50, undefined, { signal })
  }
}

interface Setting {
  readonly instances: readonly Instance[]
  readonly clients: readonly ClientsElsewhere[]
}

/** What the restart of one instance was: how many clients had to move, how many requests came to all instances, and the most in a second to those that stay. */
interface Restart {
  readonly moved: number
  readonly requests: number
  readonly most: number
}

/** How many times the even rate the worst second of a restart has. */
const crowdOf = ({ moved, most }: Restart): number => most / Math.max(moved / (WITHIN / SECOND), 1)

/** Restarts one instance. */
async function restart (t: Test, instance: Instance, { instances, clients }: Setting): Promise<Restart> {
  const moved = await instance.connections()
  const { at, code } = await instance.replace()
  t.equal(code, 0, 'the process ends by itself')
  await settle(clients)
  const requests = handshakesOf(instances, at).length
  const most = mostInASecond(handshakesOf(instances.filter((other) => other !== instance), at))
  const result = { moved, requests, most }
  t.comment(`${moved} clients moved by ${requests} requests; ${most} in the worst second, ${crowdOf(result).toFixed(2)} times the even rate`)
  return result
}

/** Restarts all, one after another. On a busy machine processes stand still, and what they have missed comes at once: then again, at most five times. */
async function restartAll (t: Test, setting: Setting): Promise<Restart[]> {
  const all: Restart[] = []
  for (let round = 1; round <= 5; round++) {
    const before = all.length
    for (const instance of setting.instances) all.push(await restart(t, instance, setting))
    if (all.slice(before).every((one) => crowdOf(one) <= 2)) return all
  }
  t.fail('no second has more than twice the even rate of handshakes, in one of five rounds')
  return all
}

/**
 * A client asks for a token when it has none, at the hint in the last fifth of the life, and if it comes back when nine tenths of the life
 * are over. So two calls are at least four fifths of a life apart. `exp` is in whole seconds. If the token ends before a busy machine has
 * renewed it, the client asks again: that call is of the same renewal.
 */
function checkCalls (t: Test, told: readonly Told[]): void {
  const gaps = told.flatMap(({ calls, life }) => calls.slice(1).map(({ at, why }, i) => {
    const isOfRenewal = why === 'rejected' && calls[i]?.why === 'renew'
    return (at - (calls[isOfRenewal ? i - 1 : i]?.at as number) + SECOND) / life
  }))
  t.ok(gaps.every((gap) => gap >= 0.8), `the least part of a life after which a client asked again: ${Math.min(...gaps).toFixed(2)}`)
  const long = told.filter(({ life }) => life === LIFE * SECOND)
  t.equal(sum(long.map(({ calls }) => calls.length)), long.length, 'one call of each client whose token lives on')
  t.comment(`${long.length} clients with tokens of an hour asked once; ${told.length - long.length} with tokens of ${SHORT_LIFE} s asked ${gaps.length} times more`)
}

/** HAProxy asks for readiness each second; nginx tries a third of the handshakes at the instance that drains, and then at another one. */
const TRIES = { HAProxy: 1.3, nginx: 1.7 }

for (const proxy of PART < 1 ? ['HAProxy'] as const : ['HAProxy', 'nginx'] as const) {
  const skip = reasonToSkipProxy(proxy) || reasonToSkipRedis()
  t.test(`${CLIENTS} clients pass a rolling restart of three instances behind ${proxy}: none is lost, no second is crowded, no token is asked for in vain`, { skip }, async (t) => {
    await buildPackage()
    const redis = await startRedis(t)
    const instances = (await freePorts(3)).map((port) => new Instance(t, port, redis.path))
    await Promise.all(instances.map((instance) => instance.start()))
    const { url } = await startProxyOf(t, proxy, instances.map(({ port }) => `127.0.0.1:${port}`), { idle: 75 })
    const count = CLIENTS / PROCESSES
    const order = { url: `${url.replace('http', 'ws')}/chat`, count, life: LIFE, shortLife: SHORT_LIFE, shortEach: 10 }
    const clients = Array.from({ length: PROCESSES }, (_, i) => startClients(t, { ...order, first: i * count }))
    await Promise.all(clients.map(({ opened }) => opened))

    const restarts = await restartAll(t, { instances, clients })
    const moved = sum(restarts.map(({ moved }) => moved))
    const requests = sum(restarts.map(({ requests }) => requests))
    t.ok(requests <= moved * TRIES[proxy] + 5, `${moved} clients moved by ${requests} requests`)
    const told = await settle(clients)
    t.strictSame(countEach(told.map(({ status }) => status)), { open: CLIENTS }, 'all are open')
    const sizes = await Promise.all(instances.map((instance) => instance.connections()))
    t.equal(sum(sizes), CLIENTS, `open on instances that live: ${sizes.join(', ')}`)
    t.comment(`ends: ${JSON.stringify(countEach(told.flatMap(({ ends }) => ends)))}`)
    checkCalls(t, told)
  })
}
