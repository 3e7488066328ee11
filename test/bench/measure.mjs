// @ts-check
/*
 * The measurements: CPU time per handshake, memory per idle connection, and what the load generator can do at most.
 */
import { createRequest, inspectHandshake, makeHandshakes, openIdle } from './load.mjs'
import { ServerProcess } from './server-process.mjs'
import { shuffled } from './statistics.mjs'
import { createToken, withWrongSignature } from './tokens.mjs'

/** @typedef {import('./subjects.mjs').Subject & { isOtherBuild?: boolean }} Subject */
/** @typedef {{ keys: ReturnType<typeof import('./tokens.mjs').createKeys>, dist: string, otherDist?: string }} Setting */

const CONCURRENCY = 32

/** A server that passed its check, and the request that it will be asked. */
export class Runner {
  /** @type {ServerProcess} */
  #server
  #request
  #status

  /**
   * @param {Subject} subject
   * @param {Setting} setting
   */
  static async start (subject, setting) {
    const spec = specOf(subject, setting)
    const server = await ServerProcess.start(spec)
    const token = createToken(subject.algorithm, spec.keys)
    await assertGuards(server.port, subject, token)
    return new Runner(subject, server, subject.token === 'wrong' ? withWrongSignature(token) : token)
  }

  constructor (subject, server, token) {
    this.name = subject.name
    this.#server = server
    this.#status = subject.status
    this.#request = createRequest(subject.carrier, token)
  }

  /** @param {number} count */
  async makeHandshakes (count) {
    await makeHandshakes({ port: this.#server.port, request: this.#request, status: this.#status, count, concurrency: CONCURRENCY })
  }

  /** @param {number} count @returns {Promise<number>} the server's CPU time per handshake and its close, in microseconds */
  async measure (count) {
    await this.#server.ask('begin')
    await this.makeHandshakes(count)
    const { user, system } = await this.#server.ask('end')
    return (user + system) / count
  }

  /** @param {number} count @returns {Promise<import('node:inspector').Profiler.Profile>} */
  async profile (count) {
    await this.#server.ask('beginProfile')
    await this.makeHandshakes(count)
    return this.#server.ask('endProfile')
  }

  async stop () {
    await this.#server.stop()
  }
}

/** @param {Subject} subject @param {Setting} setting @returns {import('./contenders.mjs').ServerSpec} */
function specOf ({ guard, algorithm, isOtherBuild }, { keys, dist, otherDist }) {
  return { guard, algorithm, keys: keys[algorithm], dist: isOtherBuild === true ? otherDist ?? dist : dist }
}

/** That a server does what it is measured for: the right user with a right token, 401 without. */
async function assertGuards (port, { name, guard, carrier }, token) {
  const by = carrier === 'none' ? 'header' : carrier
  const right = await inspectHandshake(port, createRequest(by, token, '/who'), true)
  const sub = guard === 'none' ? 'nobody' : 'user-1'
  if (right.status !== 101 || right.text !== sub) fail(`${name} answers a right token with ${right.status} for "${right.text}"`)
  if (guard === 'none') return
  for (const request of [createRequest(by, withWrongSignature(token)), createRequest('none', '')]) {
    const { status } = await inspectHandshake(port, request)
    if (status !== 401) fail(`${name} answers ${status} where it should answer 401`)
  }
}

/** @returns {never} */
function fail (message) {
  throw new Error(message)
}

/**
 * Rounds in which each subject is measured once, in random order: whatever slows the machine slows all of them. Several
 * sittings, each with processes of its own, because two processes of the same code differ too.
 *
 * @param {Subject[]} subjects
 * @param {Setting} setting
 * @param {{ sittings: number, rounds: number, handshakes: number, warmUp: number }} plan
 * @param {(line: string) => void} say
 */
export async function measureCpu (subjects, setting, { sittings, rounds, handshakes, warmUp }, say) {
  /** @type {Record<string, number[]>} */
  const results = Object.fromEntries(subjects.map(({ name }) => [name, []]))
  for (let sitting = 1; sitting <= sittings; sitting++) {
    const runners = []
    try {
      for (const subject of subjects) runners.push(await Runner.start(subject, setting))
      for (const runner of shuffled(runners)) await runner.makeHandshakes(warmUp)
      for (let round = 1; round <= rounds; round++) {
        for (const runner of shuffled(runners)) results[runner.name]?.push(await runner.measure(handshakes))
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
    const requests = Array.from({ length: connections }, (_, i) => createRequest(subject.carrier, createToken(subject.algorithm, spec.keys, `user-${i}`)))
    await server.ask('begin')
    await makeHandshakes({ port: server.port, request: requests[0] ?? '', status: 101, count: 1000, concurrency: CONCURRENCY })
    await server.ask('end')
    const before = await server.ask('memory')
    const close = await openIdle({ port: server.port, requests, concurrency: CONCURRENCY })
    const after = await server.ask('memory')
    close()
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
