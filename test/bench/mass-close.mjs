// @ts-check
/*
 * node test/bench/mass-close.mjs [--memory 50000] [--tcp 19000] [--way <name>]... [--dist <the dist folder>]
 *
 * For how long does it block the event loop to close very many connections at once? For each way to close them a server in a process of its
 * own, pinned to a core. The connections are over TCP, with their clients in another process on another core; a process has seldom more than
 * 20,000 descriptors, so there are more of them over streams in memory, whose clients answer in the process of the server, and count too.
 *
 * A turn is measured by the CPU time of its thread (Node.js 24 and newer), else of its process, helpers of the garbage collector included:
 * other programs on the machine do not count.
 */
import { fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { createConnection } from 'node:net'
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks'
import { resolve } from 'node:path'
import { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import Fastify from 'fastify'
import { CLOSE, maskedFrame } from './frames.mjs'

const FILE = fileURLToPath(import.meta.url)
const SECRET = 'thirty-two bytes of bench secret'
const AT_ONCE = 200
const MIB = 2 ** 20
/** How long before they expire connections are opened, in seconds. */
const LIFE = Number(process.env.BENCH_LIFE ?? 40)

const { values: flags } = parseArgs({
  options: {
    memory: { type: 'string', default: '50000' },
    tcp: { type: 'string', default: '19000' },
    way: { type: 'string', multiple: true },
    dist: { type: 'string', default: fileURLToPath(new URL('../../dist', import.meta.url)) },
    role: { type: 'string', default: 'main' },
    port: { type: 'string' },
    token: { type: 'string' }
  }
})

/** The ways to close all connections, which are of one user and of one group. */
const WAYS = {
  'disconnect of a user': (app) => app.wsAuth.disconnect({ sub: 'ann' }),
  'revoke of a user': (app) => app.wsAuth.revoke({ sub: 'ann' }),
  'disconnect of a group': (app) => app.wsAuth.disconnect({ group: 'g' }),
  'disconnect of all': (app) => app.wsAuth.disconnect({ all: true }),
  'drain in no time': (app) => app.wsAuth.drain({ within: 0 }),
  'drain in 10 s': (app) => app.wsAuth.drain({ within: 10_000 }),
  'expiry of all': () => Promise.resolve(),
  'app.close()': (app) => app.close()
}

/** The CPU time of this thread, in milliseconds. */
function cpuNow () {
  const { user, system } = process.threadCpuUsage?.() ?? process.cpuUsage()
  return (user + system) / 1000
}

/** Measures turns of the event loop, and what the collector took of them. */
function watchTurns () {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const turns = []
  const collections = []
  const observer = new PerformanceObserver((list) => { for (const { duration } of list.getEntries()) collections.push(duration) })
  observer.observe({ entryTypes: ['gc'] })
  let isOver = false
  let last = cpuNow()
  const turn = () => {
    const now = cpuNow()
    if (now - last > 0.5) turns.push(now - last)
    last = cpuNow()
    if (!isOver) setImmediate(turn)
  }
  setImmediate(turn)
  return () => {
    isOver = true
    delay.disable()
    observer.disconnect()
    turns.sort((a, b) => a - b)
    return {
      turns: turns.length,
      p99: turns[Math.floor(turns.length * 0.99)] ?? 0,
      longest: turns.at(-1) ?? 0,
      over50: turns.filter((time) => time > 50).length,
      longestCollection: Math.max(0, ...collections),
      delay: delay.max / 1e6
    }
  }
}

/** The other side of a connection in memory. It answers the close frame. */
class MemoryClient extends Duplex {
  isClosed = false
  _read () {}
  _write (chunk, _encoding, done) {
    if (chunk[0] === CLOSE && !this.isClosed) {
      this.isClosed = true
      setImmediate(() => this.push(maskedFrame(CLOSE, chunk.subarray(2, 4))))
    }
    done()
  }

  _final (done) {
    this.push(null)
    done()
  }
}

async function openInMemory (app, count, token) {
  for (let i = 0; i < count; i++) {
    const headers = { host: 'localhost', connection: 'upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', authorization: `Bearer ${token}` }
    app.server.emit('upgrade', { method: 'GET', url: '/ws', headers, httpVersion: '1.1' }, new MemoryClient(), Buffer.alloc(0))
    if (i % AT_ONCE === 0) await new Promise((resolve) => setImmediate(resolve))
  }
}

async function openByTcp (app, count, token) {
  await app.listen({ host: '127.0.0.1', port: 0 })
  const child = fork(FILE, ['--role', 'clients', '--tcp', String(count), '--port', String(app.server.address().port), '--token', token])
  pin(child.pid, 1)
  await once(child, 'message')
  return child
}

async function serve (way) {
  const require = createRequire(import.meta.url)
  const app = Fastify({ forceCloseConnections: true })
  await app.register(require(resolve(flags.dist, 'index.js')), { jwt: { secret: SECRET }, groups: () => ['g'] })
  app.get('/ws', { websocket: true }, () => {})
  await app.ready()
  const exp = Math.floor(Date.now() / 1000) + (way === 'expiry of all' ? LIFE : 3600)
  const token = app.jwt.sign({ sub: 'ann', exp })
  const [count, isTcp] = flags.role === 'memory' ? [Number(flags.memory), false] : [Number(flags.tcp), true]
  const child = isTcp ? await openByTcp(app, count, token) : await openInMemory(app, count, token)
  while (app.wsAuth.stats().accepted < count) await sleep(20)
  globalThis.gc?.()
  if (way === 'expiry of all') await sleep(exp * 1000 - Date.now() - 500)
  else await sleep(1000)
  if (app.wsAuth.connections.size !== count) throw new Error(`only ${app.wsAuth.connections.size} of ${count} are open`)
  const stop = watchTurns()
  await sleep(50)
  const startedAt = performance.now()
  const cpuAt = cpuNow()
  const closing = WAYS[way](app)
  const call = cpuNow() - cpuAt
  await closing
  while (app.websocketServer.clients.size > 0) await sleep(5)
  const took = performance.now() - startedAt
  const result = { over: isTcp ? 'TCP' : 'memory', way, count, call, took, ...stop(), rss: process.memoryUsage().rss / MIB }
  process.send?.(result)
  child?.kill()
  await app.close()
  process.disconnect()
}

/** Holds connections over TCP, and answers their close frames. */
async function hold () {
  const request = `GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer ${flags.token}\r\n\r\n`
  const open = () => new Promise((resolve, reject) => {
    const socket = createConnection(Number(flags.port), '127.0.0.1', () => socket.write(request))
    socket.once('data', () => resolve(socket.on('data', (chunk) => { if (chunk[0] === CLOSE) socket.end(maskedFrame(CLOSE, chunk.subarray(2, 4))) })))
    socket.on('error', reject)
  })
  const left = Array.from({ length: Number(flags.tcp) }).values()
  await Promise.all(Array.from({ length: AT_ONCE }, async () => { while (left.next().done !== true) await open() }))
  process.send?.('open')
}

/** Gives a process a core of its own, if the machine has `taskset`. */
function pin (pid, core) {
  spawnSync('taskset', ['-pc', String(core), String(pid)], { stdio: 'ignore' })
}

async function measure (role, way) {
  const args = ['--role', role, '--way', way, '--memory', String(flags.memory), '--tcp', String(flags.tcp), '--dist', String(flags.dist)]
  const child = fork(FILE, args, { execArgv: ['--expose-gc', '--max-old-space-size=4096'] })
  pin(child.pid, 0)
  const [result] = await once(child, 'message')
  child.kill()
  const { over, count, call, took, p99, longest, over50, longestCollection, delay, rss } = result
  const ms = (time) => time.toFixed(1)
  console.log(`| ${count} over ${over} | ${way} | ${ms(call)} | ${(took / 1000).toFixed(1)} | ${ms(p99)} | ${ms(longest)} | ${over50} | ${ms(longestCollection)} | ${ms(delay)} | ${rss.toFixed()} |`)
}

if (flags.role === 'clients') {
  await hold()
} else if (flags.role !== 'main') {
  await serve(flags.way?.[0])
} else {
  console.log('| connections | way | the call, ms of CPU | all closed, s | 99 % of the turns, ms of CPU | the longest | turns over 50 ms | longest collection, ms | longest delay by the wall clock, ms | RSS, MiB |\n|---|---|---|---|---|---|---|---|---|---|')
  for (const role of ['memory', 'tcp']) {
    if (Number(flags[role]) === 0) continue
    for (const way of flags.way ?? Object.keys(WAYS)) await measure(role, way)
  }
}
