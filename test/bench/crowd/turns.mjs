// @ts-check
/*
 * How long the turns of the event loop of this process are. While this is measured the process does not sleep.
 */
import { PerformanceObserver } from 'node:perf_hooks'

/** A turn longer than this is a block, in milliseconds of CPU time. */
export const BLOCK = 50

/** CPU time in microseconds: of this thread where Node.js can tell, and else of all threads of the process. */
const cpuUsage = /** @type {any} */ (process).threadCpuUsage?.bind(process) ?? process.cpuUsage.bind(process)

/** @typedef {{ turn: number, turnCpu: number, blocks: number, gc: number }} Turns  the longest turn by the clock and by CPU time, and the longest pause of the garbage collector, in milliseconds; how many turns were blocks */

/** @returns {() => Turns} ends it */
export function watchTurns () {
  const longest = { turn: 0, turnCpu: 0, blocks: 0, gc: 0 }
  const observer = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) longest.gc = Math.max(longest.gc, duration)
  })
  observer.observe({ entryTypes: ['gc'] })
  let at = performance.now()
  let cpu = cpuUsage()
  const look = () => {
    const now = performance.now()
    const turnCpu = cpuUsage()
    const spent = (turnCpu.user + turnCpu.system - cpu.user - cpu.system) / 1000
    longest.turn = Math.max(longest.turn, now - at)
    longest.turnCpu = Math.max(longest.turnCpu, spent)
    if (spent > BLOCK) longest.blocks++
    at = now
    cpu = turnCpu
    immediate = setImmediate(look)
  }
  let immediate = setImmediate(look)
  return () => {
    clearImmediate(immediate)
    observer.disconnect()
    return longest
  }
}
