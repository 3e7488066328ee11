// @ts-check
/*
 * A server in a process of its own, told by its parent what to be and when to look at itself: it measures its own CPU
 * time and memory, and nothing of whoever loads it.
 */
import { once } from 'node:events'
import { Session } from 'node:inspector/promises'
import { createServer } from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { writeHeapSnapshot } from 'node:v8'
import { answerParent } from './asked-process.mjs'
import { startContender } from './contenders/index.mjs'
import { InMemoryClients } from './crowd/in-memory.mjs'
import { watchTurns } from './crowd/turns.mjs'

/** Answers without reading: what the load generator itself can do. */
const FIXED_ANSWER = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
  'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n'

/** How long connections that expire, or were closed, may take to be gone, in milliseconds. */
const GONE_TIMEOUT = 20_000

/** @type {import('node:net').Server} */
let server
/** @type {import('./contenders/index.mjs').Contender} */
let contender
/** @type {NodeJS.CpuUsage} */
let usageBefore
/** @type {Session} */
let profiler
/** @type {() => import('./crowd/turns.mjs').Turns} */
let endTurns
const inMemory = new InMemoryClients()

const commands = {
  async listen (spec) {
    server = spec === null ? await listenRaw() : await listenContender(spec)
    return /** @type {import('node:net').AddressInfo} */ (server.address()).port
  },

  begin () {
    usageBefore = process.cpuUsage()
  },

  /** CPU time since `begin` in microseconds, once every connection has been closed on this side too. */
  async end () {
    await untilConnected(0)
    return commands.usage()
  },

  /** The same once no more than so many are connected, and all of them are open. */
  async settle ({ count, timeout = GONE_TIMEOUT }) {
    await untilConnected(count, timeout)
    return commands.usage()
  },

  /** Waits until so many WebSockets are open, in memory too. */
  async untilOpen ({ count, timeout }) {
    await until(() => contender.countClients() === count, timeout, () => `${contender.countClients()} are open, not ${count}`)
  },

  /** CPU time since `begin` in microseconds. */
  usage () {
    const { user, system } = process.cpuUsage(usageBefore)
    return { user, system }
  },

  /**
   * Waits until all but a few connections are gone. CPU time in microseconds; in milliseconds when the last one went, by the
   * clock, and the longest time in which nothing else could run.
   */
  async expire ({ left }) {
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    commands.begin()
    const deadline = Date.now() + GONE_TIMEOUT
    while (contender.countClients() > left) {
      if (Date.now() > deadline) throw new Error(`${contender.countClients() - left} connections did not expire`)
      await sleep(5)
    }
    delay.disable()
    return { ...commands.usage(), lastAt: Date.now(), longestBlock: delay.max / 1e6 }
  },

  /** Asks for tickets, as a route would. */
  issueTickets: ({ count, claims }) => contender.issueTickets?.(count, claims),

  /** Closes the sockets of these users; CPU time in microseconds until they are gone, and milliseconds until the call returned. */
  async disconnect ({ subs, left, isOneByOne }) {
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    commands.begin()
    const startedAt = performance.now()
    if (isOneByOne) for (const sub of subs) await contender.disconnect?.([sub])
    else await contender.disconnect?.(subs)
    const returned = performance.now() - startedAt
    await untilConnected(left)
    delay.disable()
    return { ...commands.usage(), returned, gone: performance.now() - startedAt, longestBlock: delay.max / 1e6 }
  },

  /** Revokes a user. When it was called, by the clock of all processes in milliseconds, and how long the call took. */
  async revoke ({ sub }) {
    const calledAt = Number(process.hrtime.bigint()) / 1e6
    await contender.revoke?.(sub)
    return { calledAt, returned: Number(process.hrtime.bigint()) / 1e6 - calledAt }
  },

  /** Takes the server out of service. When that began (ms since the epoch), and how many connections it closed. */
  async drain ({ within }) {
    const startedAt = Date.now()
    return { startedAt, closed: await contender.drain?.(within) }
  },

  beginTurns () {
    endTurns = watchTurns()
  },

  /** How long the turns of the event loop were since then. */
  endTurns: () => endTurns(),

  openInMemory: (opening) => inMemory.open(server, opening),
  expectInMemory: (code) => inMemory.expect(code),
  goodbyesInMemory: () => inMemory.goodbyes(),
  leaveInMemory: () => inMemory.leave(),

  /** What is in use when all garbage is gone, in bytes. */
  async memory () {
    for (let i = 0; i < 3; i++) {
      globalThis.gc?.()
      await sleep(50)
    }
    const { heapUsed, external, rss } = process.memoryUsage()
    return { heapUsed, external, rss, connections: await countConnections() }
  },

  /** Writes all objects that are in use into a file. V8 collects the garbage before. */
  async snapshot ({ path }) {
    await commands.memory()
    writeHeapSnapshot(path)
  },

  async beginProfile () {
    profiler = new Session()
    profiler.connect()
    await profiler.post('Profiler.enable')
    await profiler.post('Profiler.setSamplingInterval', { interval: 100 })
    await profiler.post('Profiler.start')
  },

  async endProfile () {
    const { profile } = await profiler.post('Profiler.stop')
    profiler.disconnect()
    return profile
  }
}

answerParent(commands)

async function listenRaw () {
  const raw = createServer((socket) => {
    socket.once('data', () => socket.end(FIXED_ANSWER))
    socket.on('error', () => socket.destroy())
  })
  await once(raw.listen(0, '127.0.0.1'), 'listening')
  return raw
}

async function listenContender (spec) {
  contender = await startContender(spec)
  return contender.server
}

async function untilConnected (count, timeout = GONE_TIMEOUT) {
  let connected = NaN
  const isThere = async () => {
    connected = await countConnections()
    return connected <= count && (count === 0 || contender.countClients() === count)
  }
  await until(isThere, timeout, () => `${connected} are connected and ${contender?.countClients()} open, not ${count}`)
}

async function until (isThere, timeout, what) {
  const deadline = Date.now() + timeout
  while (!await isThere()) {
    if (Date.now() > deadline) throw new Error(`${what()}, after ${timeout} ms`)
    await sleep(1)
  }
}

/** @returns {Promise<number>} */
function countConnections () {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => error === null ? resolve(count) : reject(error))
  })
}
