// @ts-check
/*
 * node test/bench/many.mjs [--instances 100] [--revocations 100000] [--idle 60] [--dist <the dist folder>]
 *
 * What many instances cost their Redis, and themselves: a hundred links to a real redis-server in one process, each as an app has
 * it, without the apps. Commands are counted by Redis itself (INFO commandstats), bytes too (INFO stats, MEMORY USAGE).
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Redis } from 'ioredis'

const { values: flags } = parseArgs({
  options: {
    instances: { type: 'string', default: '100' },
    revocations: { type: 'string', default: '100000' },
    idle: { type: 'string', default: '60' },
    dist: { type: 'string', default: fileURLToPath(new URL('../../dist', import.meta.url)) }
  }
})
const INSTANCES = Number(flags.instances)
const REVOCATIONS = Number(flags.revocations)
const IDLE_SECONDS = Number(flags.idle)
const COMMANDS = 200
const TICKETS = 2000

const require = createRequire(import.meta.url)
const { redisBackplane } = require(resolve(flags.dist, 'backplane/redis/index.js'))
const { RevocationList } = require(resolve(flags.dist, 'backplane/revocation-list.js'))

const folder = mkdtempSync(join(tmpdir(), 'fastify-ws-auth-many-'))
const path = join(folder, 'redis.sock')
const server = spawn('redis-server', ['--port', '0', '--unixsocket', path, '--dir', folder, '--save', '', '--appendonly', 'no'], { stdio: 'ignore' })
await sleep(1000)
const observer = new Redis({ path, protocol: 2 })
const log = { debug () {}, info () {}, warn: console.warn, error: console.error }
const clients = []

function join1 (id) {
  const client = new Redis({ path })
  clients.push(client)
  const revocations = new RevocationList()
  const member = {
    id,
    log,
    apply: (command) => { if (command.type === 'revoke') revocations.add(command); return 0 },
    revocations: () => revocations,
    onOutage: () => { console.error(`${id} believes that there is an outage`) }
  }
  return { id, client, revocations, link: redisBackplane({ client }).join(member) }
}

/** What Redis has done so far. */
async function readUsage () {
  const stats = await observer.info('commandstats')
  const { used_cpu_user_main_thread: user, used_cpu_sys_main_thread: system } = pairs(await observer.info('cpu'))
  const { total_net_input_bytes: received, total_net_output_bytes: sent } = pairs(await observer.info('stats'))
  const calls = Object.fromEntries([...stats.matchAll(/cmdstat_(\S+?):calls=(\d+)/g)].map(([, name, count]) => [name, Number(count)]))
  return { calls, cpu: Number(user) + Number(system), received: Number(received), sent: Number(sent) }
}

function pairs (info) {
  return Object.fromEntries(info.split('\r\n').map((line) => line.split(':')))
}

/** What was done by something, for each of so many. */
async function usageOf (run, count) {
  const before = await readUsage()
  await run()
  const after = await readUsage()
  const calls = {}
  let sum = 0
  for (const [name, number] of Object.entries(after.calls)) {
    const more = (number - (before.calls[name] ?? 0)) / count
    if (more <= 0 || /^(info|memory)/.test(name)) continue
    calls[name] = Number(more.toFixed(2))
    sum += more
  }
  return {
    commands: Number(sum.toFixed(2)),
    calls,
    cpuMicroseconds: Math.round((after.cpu - before.cpu) / count * 1e6),
    bytesToRedis: Math.round((after.received - before.received) / count),
    bytesFromRedis: Math.round((after.sent - before.sent) / count)
  }
}

const revoke = (value, kind = 'jti') => ({ type: 'revoke', kind, value, issuedBy: kind === 'sub' ? 1_900_000_000 : null, untilAt: Date.now() + 2_592_000_000 })
const result = { instances: INSTANCES }

try {
  const instances = Array.from({ length: INSTANCES }, (_, i) => join1(`instance-${i}`))
  await Promise.all(instances.map(({ link }) => link.ready))
  await sleep(6000)

  result.idleSecond = await usageOf(() => sleep(IDLE_SECONDS * 1000), IDLE_SECONDS)

  const times = []
  result.revocation = await usageOf(async () => {
    for (let i = 0; i < COMMANDS; i++) {
      const startedAt = performance.now()
      const answers = await instances[i % INSTANCES].link.publish(revoke(`one-${i}-7f7f7f7f-aaaa-bbbb-cccc`))
      times.push(performance.now() - startedAt)
      if (answers.length !== INSTANCES - 1 || answers.some(({ answered }) => !answered)) throw new Error('not all have answered')
    }
  }, COMMANDS)
  times.sort((a, b) => a - b)
  result.answered = { p50: times[COMMANDS >> 1], p99: times[Math.floor(COMMANDS * 0.99)] }

  result.ticket = await usageOf(async () => {
    for (let i = 0; i < TICKETS; i++) {
      const { link } = instances[i % INSTANCES]
      await link.put(`ticket:${i}`, JSON.stringify({ claims: { sub: 'user', exp: 1_900_000_000, iat: 1_800_000_000, roles: ['member'] } }), 30_000)
      await link.take(`ticket:${i}`)
    }
  }, TICKETS)

  const before = Number(await observer.call('MEMORY', 'USAGE', '{fastify-ws-auth}:log', 'SAMPLES', '0'))
  const length = await observer.xlen('{fastify-ws-auth}:log')
  result.bytesOfLogPerEntry = Math.round(before / length)

  for (const { link } of instances.slice(1)) await link.leave()
  for (const client of clients.slice(1)) client.disconnect()
  // The rest of them, in the set alone, as they are when the log has been trimmed.
  for (let i = 0; i < REVOCATIONS; i += 1000) {
    const now = Date.now() + 2_592_000_000
    await observer.zadd('{fastify-ws-auth}:revoked', ...Array.from({ length: 1000 }, (_, j) => [String(now), `jti:${String(i + j).padStart(8, '0')}-7f7f-4aaa-8bbb-ccccdddd0000`]).flat())
  }
  result.bytesOfSetPerRevocation = Math.round(Number(await observer.call('MEMORY', 'USAGE', '{fastify-ws-auth}:revoked', 'SAMPLES', '0')) / await observer.zcard('{fastify-ws-auth}:revoked'))
  globalThis.gc?.()
  const heapBefore = process.memoryUsage().heapUsed
  let late
  const startedAt = performance.now()
  const cpuBefore = process.cpuUsage()
  result.lateStart = await usageOf(async () => {
    late = join1('late')
    await late.link.ready
  }, 1)
  const { user, system } = process.cpuUsage(cpuBefore)
  result.lateStart.milliseconds = Math.round(performance.now() - startedAt)
  result.lateStart.cpuMilliseconds = Math.round((user + system) / 1000)
  result.lateStart.revocations = late.revocations.size
  globalThis.gc?.()
  result.heapBytesPerRevocation = Math.round((process.memoryUsage().heapUsed - heapBefore) / late.revocations.size)
  await late.link.leave()
  await instances[0].link.leave()
  console.log(JSON.stringify(result, null, 2))
} finally {
  for (const client of clients) client.disconnect()
  observer.disconnect()
  server.kill()
  rmSync(folder, { recursive: true, force: true })
}
