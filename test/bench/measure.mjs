// @ts-check
/*
 * The measurements that compare servers: CPU time per operation, memory per idle connection, and what the load generator
 * can do at most.
 */
import { createRequest, makeHandshakes } from './load.mjs'
import { openConnections } from './open-load.mjs'
import { CONCURRENCY, fail, specOf } from './runner.mjs'
import { ServerProcess } from './server-process.mjs'
import { shuffled } from './statistics.mjs'
import { createToken } from './tokens.mjs'

/** @typedef {import('./runner.mjs').Subject} Subject */
/** @typedef {import('./runner.mjs').Setting} Setting */
/** @typedef {import('./runner.mjs').Runner} Runner */

/**
 * Rounds in which each subject is measured once, in random order: whatever slows the machine slows all of them. Several
 * sittings, each with processes of its own, because two processes of the same code differ too.
 *
 * @param {(subject: Subject, setting: Setting) => Promise<Runner>} start
 * @param {Subject[]} subjects
 * @param {Setting} setting
 * @param {{ sittings: number, rounds: number, operations: number, warmUp: number }} plan
 * @param {(line: string) => void} say
 */
export async function measureCpu (start, subjects, setting, { sittings, rounds, operations, warmUp }, say) {
  /** @type {Record<string, number[]>} */
  const results = Object.fromEntries(subjects.map(({ name }) => [name, []]))
  for (let sitting = 1; sitting <= sittings; sitting++) {
    /** @type {Runner[]} */
    const runners = []
    try {
      for (const subject of subjects) runners.push(await start(subject, setting))
      for (const runner of shuffled(runners)) await runner.run(warmUp)
      for (let round = 1; round <= rounds; round++) {
        for (const runner of shuffled(runners)) results[runner.name]?.push(await runner.measure(operations))
      }
    } finally {
      for (const runner of runners) await runner.stop()
    }
    say(`sitting ${sitting} of ${sittings}`)
  }
  return results
}

/**
 * Memory of idle connections, each of a user of its own. A fresh process each time.
 *
 * @param {Subject[]} subjects
 * @param {Setting} setting
 * @param {{ repetitions: number, connections: number }} plan
 * @param {(line: string) => void} say
 * @returns {Promise<Record<string, { heap: number[], external: number[], rss: number[] }>>} in bytes per connection
 */
export async function measureMemory (subjects, setting, { repetitions, connections }, say) {
  /** @type {Awaited<ReturnType<typeof measureMemory>>} */
  const results = Object.fromEntries(subjects.map(({ name }) => [name, { heap: [], external: [], rss: [] }]))
  for (let repetition = 1; repetition <= repetitions; repetition++) {
    for (const subject of shuffled(subjects)) {
      const one = await measureMemoryOnce(subject, setting, connections)
      results[subject.name]?.heap.push(one.heap)
      results[subject.name]?.external.push(one.external)
      results[subject.name]?.rss.push(one.rss)
    }
    say(`repetition ${repetition} of ${repetitions}`)
  }
  return results
}

/**
 * The code is compiled and its caches are filled by a few handshakes before; they are gone when it begins.
 *
 * @param {Subject} subject
 * @param {Setting} setting
 * @param {number} connections
 */
async function measureMemoryOnce (subject, setting, connections) {
  const spec = specOf(subject, setting)
  const server = await ServerProcess.start(spec)
  try {
    const tokens = Array.from({ length: connections }, (_, i) => createToken(subject.algorithm, spec.keys, `user-${i}`))
    const requests = tokens.map((token) => createRequest(subject.carrier, token))
    const first = subject.sendsToken ? tokens.map((token) => JSON.stringify({ type: 'auth', token })) : undefined
    await server.ask('begin')
    await makeHandshakes({ port: server.port, request: requests[0] ?? '', status: 101, count: 1000, concurrency: CONCURRENCY })
    await server.ask('end')
    const before = await server.ask('memory')
    const sockets = await openConnections({ port: server.port, requests, concurrency: CONCURRENCY, first })
    const after = await server.ask('memory')
    for (const socket of sockets) socket.destroy()
    if (after.connections !== connections) fail(`${subject.name} has ${after.connections} connections, not ${connections}`)
    const perConnection = (what) => (after[what] - before[what]) / connections
    return { heap: perConnection('heapUsed'), external: perConnection('external'), rss: perConnection('rss') }
  } finally {
    await server.stop()
  }
}

/**
 * What the load generator can do against a server that does nothing.
 *
 * @param {number} count
 * @returns {Promise<{ perSecond: number, loadCpu: number, serverCpu: number }>} CPU in microseconds per handshake
 */
export async function measureCeiling (count) {
  const server = await ServerProcess.start(null)
  const load = { port: server.port, request: createRequest('header', 'x'.repeat(250)), status: 101, concurrency: CONCURRENCY }
  try {
    await makeHandshakes({ ...load, count })
    await server.ask('begin')
    const startedAt = process.hrtime.bigint()
    const usageBefore = process.cpuUsage()
    await makeHandshakes({ ...load, count })
    const { user, system } = process.cpuUsage(usageBefore)
    const seconds = Number(process.hrtime.bigint() - startedAt) / 1e9
    const usage = await server.ask('end')
    return { perSecond: count / seconds, loadCpu: (user + system) / count, serverCpu: (usage.user + usage.system) / count }
  } finally {
    await server.stop()
  }
}
