// @ts-check
/*
 * The ways of measuring: side by side in rounds, once in a fresh process, and what the load generator can do at most.
 */
import { makeHandshakes } from './load.mjs'
import { CONCURRENCY } from './runner.mjs'
import { createScript } from './scripts.mjs'
import { ServerProcess } from './server-process.mjs'
import { shuffled } from './statistics.mjs'

/** @typedef {import('./subject.mjs').Subject} Subject */
/** @typedef {import('./subject.mjs').Setting} Setting */
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
 * @returns {Promise<{ cpu: Record<string, number[]>, wall: Record<string, number[]> }>} in microseconds for each operation
 */
export async function measureInRounds (start, subjects, setting, { sittings, rounds, operations, warmUp }, say) {
  const results = { cpu: emptyFor(subjects), wall: emptyFor(subjects) }
  for (let sitting = 1; sitting <= sittings; sitting++) {
    /** @type {Runner[]} */
    const runners = []
    try {
      for (const subject of subjects) runners.push(await start(subject, setting))
      for (const runner of shuffled(runners)) await runner.warmUp(warmUp)
      for (let round = 1; round <= rounds; round++) {
        for (const runner of shuffled(runners)) {
          const { cpu, wall } = await runner.measure(operations)
          results.cpu[runner.name]?.push(cpu)
          results.wall[runner.name]?.push(wall)
        }
      }
    } finally {
      for (const runner of runners) await runner.stop()
    }
    say(`sitting ${sitting} of ${sittings}`)
  }
  return results
}

/** @param {{ name: string }[]} subjects @returns {Record<string, any[]>} */
function emptyFor (subjects) {
  return Object.fromEntries(subjects.map(({ name }) => [name, []]))
}

/**
 * Each subject so many times in random order, in a process of its own each time.
 *
 * @template {{ name: string }} T
 * @template R
 * @param {T[]} subjects
 * @param {number} repetitions
 * @param {(subject: T) => Promise<R>} measureOnce
 * @param {(line: string) => void} say
 * @returns {Promise<Record<string, R[]>>}
 */
export async function measureAfresh (subjects, repetitions, measureOnce, say) {
  const results = emptyFor(subjects)
  for (let repetition = 1; repetition <= repetitions; repetition++) {
    for (const subject of shuffled(subjects)) results[subject.name]?.push(await measureOnce(subject))
    say(`repetition ${repetition} of ${repetitions}`)
  }
  return results
}

/**
 * What the load generator can do against a server that does nothing.
 *
 * @param {number} count
 * @returns {Promise<{ perSecond: number, loadCpu: number, serverCpu: number }>} CPU in microseconds per handshake
 */
export async function measureCeiling (count) {
  const server = await ServerProcess.start(null)
  const scripts = [createScript({ carrier: 'header', isAccepted: true }, 'x'.repeat(250))]
  const load = { port: server.port, scripts, concurrency: CONCURRENCY }
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
