// @ts-check
/*
 * How long the turns of the event loop of this process are. While this is measured the process does not sleep.
 */
import { PerformanceObserver } from 'node:perf_hooks'

/** A turn longer than this is a block, in milliseconds of CPU time. */
export const BLOCK = 50

/** CPU time in microseconds: of this thread where Node.js can tell, and else of all threads of the process. */
const cpuUsage = /** @type {any} */ (process).threadCpuUsage?.bind(process) ?? process.cpuUsage.bind(process)

/**
 * The longest turn by the clock and by CPU time, its CPU time without the pauses of the garbage collector, and the longest of those, in
 * milliseconds; how many turns were blocks.
 *
 * @typedef {{ turn: number, turnCpu: number, ownCpu: number, blocks: number, gc: number }} Turns
 */

/** Turns of less CPU time are not remembered, in milliseconds. */
const SHORT = 10

/** @returns {() => Turns} ends it */
export function watchTurns () {
  const longest = { turn: 0, turnCpu: 0, ownCpu: 0, blocks: 0, gc: 0 }
  /** @type {{ from: number, to: number, spent: number }[]} */
  const turns = []
  /** @type {{ startTime: number, duration: number }[]} */
  const pauses = []
  const observer = new PerformanceObserver((list) => { pauses.push(...list.getEntries()) })
  observer.observe({ entryTypes: ['gc'] })
  let at = performance.now()
  let cpu = cpuUsage()
  const look = () => {
    const now = performance.now()
    const used = cpuUsage()
    const spent = (used.user + used.system - cpu.user - cpu.system) / 1000
    longest.turn = Math.max(longest.turn, now - at)
    longest.turnCpu = Math.max(longest.turnCpu, spent)
    if (spent > BLOCK) longest.blocks++
    if (spent > SHORT) turns.push({ from: at, to: now, spent })
    at = now
    cpu = used
    immediate = setImmediate(look)
  }
  let immediate = setImmediate(look)
  return () => {
    clearImmediate(immediate)
    pauses.push(...observer.takeRecords())
    observer.disconnect()
    const ownCpu = Math.max(0, ...turns.map((turn) => turn.spent * (1 - pausedShare(turn, pauses))))
    return { ...longest, ownCpu, gc: Math.max(0, ...pauses.map(({ duration }) => duration)) }
  }
}

/** How much of a turn the garbage collector took, by the clock. @param {{ from: number, to: number }} turn @param {{ startTime: number, duration: number }[]} pauses */
function pausedShare ({ from, to }, pauses) {
  const paused = pauses.reduce((sum, { startTime, duration }) => sum + Math.max(0, Math.min(to, startTime + duration) - Math.max(from, startTime)), 0)
  return Math.min(1, paused / (to - from))
}
