// @ts-check
/*
 * What an expiry costs by itself, without a connection: node --expose-gc arming-process.mjs '{ "dist": ..., "by": "sweep" | "timers",
 * "when": ..., "count": ... }' in a process of its own. Prints bytes of heap for each that is armed, and nanoseconds of CPU
 * time for each that is armed, taken back, and woken.
 */
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { shuffled } from './statistics.mjs'

/** @typedef {'spread' | 'oneSecond' | 'random'} When  see `instants` */
/** @typedef {{ dist: string, by: 'sweep' | 'timers', when: When, count: number }} What */
/** @typedef {{ bytes: number, arm: number, forget: number, wake: number }} Costs */

const MINUTES_15 = 900_000
/** Nothing is due while it is measured. */
const LEAD = 120_000
const WARM_UP = 20_000

/** @type {What} */
const { dist, by, when, count } = JSON.parse(process.argv[2] ?? '')
/** @type {typeof import('../../lib/connection/sweep.ts')} */
const { Sweep, kNext } = createRequire(import.meta.url)(resolve(dist, 'connection/sweep.js'))

let woken = 0

/** The part of a connection that is there anyway. */
class Sleeper {
  [kNext] = null
  isEnded = false
  /** @type {NodeJS.Timeout | null} */
  timer = null

  wake () {
    woken++
  }
}

/** When tokens expire, in milliseconds from now. */
const instants = {
  /** Tokens of 15 minutes, of users who came in the course of 15 minutes; `exp` is in whole seconds. */
  spread: (/** @type {number} */ i) => LEAD + Math.ceil(i / count * MINUTES_15 / 1000) * 1000,
  /** All in one second: everybody came back after a restart. */
  oneSecond: () => LEAD + MINUTES_15,
  /** At any millisecond of 15 minutes. */
  random: () => LEAD + Math.floor(Math.random() * MINUTES_15)
}

/** A timer is armed when its user comes, for what is left until `exp`: at any millisecond. */
const delays = {
  spread: () => MINUTES_15 - Math.floor(Math.random() * 1000),
  oneSecond: () => MINUTES_15 - Math.floor(Math.random() * 1000),
  random: () => 1000 + Math.floor(Math.random() * MINUTES_15)
}

/** The same, so that they fire within a few seconds and at as many different times where those are a thousand. */
const shortDelays = {
  spread: () => 1000 + Math.floor(Math.random() * 1000),
  oneSecond: () => 1000 + Math.floor(Math.random() * 1000),
  random: () => 1000 + Math.floor(Math.random() * 3000)
}

const wake = (/** @type {Sleeper} */ sleeper) => sleeper.wake()
const create = (length) => Array.from({ length }, () => new Sleeper())

function armTimers (sleepers, times) {
  for (let i = 0; i < sleepers.length; i++) sleepers[i].timer = setTimeout(wake, times[i], sleepers[i]).unref()
}

function armSweep (sweep, sleepers, times) {
  for (let i = 0; i < sleepers.length; i++) sweep.add(sleepers[i], sweep.tickAt(times[i]))
}

function forgetTimers (sleepers) {
  for (const sleeper of sleepers) clearTimeout(sleeper.timer)
}

function forgetSweep (sweep, sleepers) {
  for (const sleeper of sleepers) {
    sleeper.isEnded = true
    sweep.forget()
  }
}

async function heapUsed () {
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.()
    await sleep(20)
  }
  return process.memoryUsage().heapUsed
}

async function allWoken () {
  const isMissing = () => woken < count
  while (isMissing()) await sleep(100)
}

/** CPU time in nanoseconds for each of `count`. */
async function timeOf (work) {
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) * 1000 / count
}

/** @returns {Promise<Costs>} */
async function measureSweep () {
  const times = Float64Array.from({ length: count }, (_, i) => Date.now() + instants[when](i))
  const warm = new Sweep()
  const others = create(WARM_UP)
  armSweep(warm, others, times)
  forgetSweep(warm, others)
  warm.stop()

  const sleepers = create(count)
  const sweep = new Sweep()
  const before = await heapUsed()
  const arm = await timeOf(() => armSweep(sweep, sleepers, times))
  const bytes = (await heapUsed() - before) / count
  const order = shuffled(sleepers)
  const forget = await timeOf(() => forgetSweep(sweep, order))
  sweep.stop()

  const due = new Sweep()
  const more = create(count)
  armSweep(due, more, times)
  const wakeUp = await timeOf(async () => {
    const { now } = Date
    Date.now = () => now() + 10 * MINUTES_15
    await allWoken()
    Date.now = now
  })
  return { bytes, arm, forget, wake: wakeUp }
}

/** @returns {Promise<Costs>} */
async function measureTimers () {
  const times = Float64Array.from({ length: count }, () => delays[when]())
  const others = create(WARM_UP)
  armTimers(others, times)
  forgetTimers(others)

  const sleepers = create(count)
  const before = await heapUsed()
  const arm = await timeOf(() => armTimers(sleepers, times))
  const bytes = (await heapUsed() - before) / count
  const order = shuffled(sleepers)
  const forget = await timeOf(() => forgetTimers(order))

  const more = create(count)
  armTimers(more, times.map(() => shortDelays[when]()))
  const wakeUp = await timeOf(allWoken)
  return { bytes, arm, forget, wake: wakeUp }
}

console.log(JSON.stringify(await (by === 'sweep' ? measureSweep() : measureTimers())))
