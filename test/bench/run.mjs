// @ts-check
/*
 * node test/bench/run.mjs [--quick] [--only accepted|refused|echo|heap|arming|expiry]... [--against <another dist folder>]
 *   [--dist <the dist folder>] [--subject <name>]... [--results <file>]
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { measureArming, measureExpiry } from './expiry.mjs'
import { measureCeiling, measureCpu, measureMemory } from './measure.mjs'
import {
  armingTable, ceilingLine, cpuTable, expiryTable, memoryTable, summarizeArming, summarizeCpu, summarizeExpiry, summarizeMemory
} from './report.mjs'
import { EchoRunner, HandshakeRunner } from './runner.mjs'
import { pinLoad } from './server-process.mjs'
import { armingSubjects, phases, withOtherBuild, withOtherSweep } from './subjects.mjs'
import { createKeys } from './tokens.mjs'

const FULL_CPU = { sittings: 3, rounds: 6, operations: 2000, warmUp: 6000 }
const QUICK_CPU = { sittings: 1, rounds: 5, operations: 1000, warmUp: 5000 }

const FULL = {
  accepted: FULL_CPU,
  refused: FULL_CPU,
  echo: { sittings: 6, rounds: 5, operations: 20_000, warmUp: 60_000 },
  heap: { repetitions: 3, connections: 5000 },
  arming: { repetitions: 5, expiries: 100_000 },
  expiry: { repetitions: 3, connections: 10_000 }
}
const QUICK = {
  accepted: QUICK_CPU,
  refused: QUICK_CPU,
  echo: { sittings: 1, rounds: 8, operations: 20_000, warmUp: 60_000 },
  heap: { repetitions: 1, connections: 2000 },
  arming: { repetitions: 1, expiries: 100_000 },
  expiry: { repetitions: 1, connections: 10_000 }
}

const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true },
    subject: { type: 'string', multiple: true },
    against: { type: 'string' },
    dist: { type: 'string', default: fileURLToPath(new URL('../../dist', import.meta.url)) },
    results: { type: 'string', default: fileURLToPath(new URL('results.json', import.meta.url)) }
  }
})

const say = (/** @type {string} */ line) => { process.stderr.write(`${line}\n`) }

/** What is measured in each phase, and how it reads. */
const measurements = {
  accepted: (plan, setting) => compareCpu('accepted', HandshakeRunner.start, setting, plan),
  refused: (plan, setting) => compareCpu('refused', HandshakeRunner.start, setting, plan),
  echo: (plan, setting) => compareCpu('echo', EchoRunner.start, setting, plan),

  heap: async (plan, setting) => {
    const measured = await measureMemory(subjectsOf('heap').subjects, setting, plan, say)
    const summary = summarizeMemory(measured)
    console.log(memoryTable(summary))
    return { ...summary, measured }
  },

  arming: async (plan, setting) => {
    const subjects = flags.against === undefined ? armingSubjects : withOtherSweep(armingSubjects)
    const measured = await measureArming(subjects.filter(isWanted), setting, plan, say)
    const summary = summarizeArming(measured)
    console.log(armingTable(summary))
    return { ...summary, measured }
  },

  expiry: async (plan, setting) => {
    const measured = await measureExpiry(subjectsOf('expiry').subjects, setting, plan, say)
    const summary = summarizeExpiry(measured)
    console.log(expiryTable(summary))
    return { ...summary, measured }
  }
}

async function compareCpu (phase, start, setting, plan) {
  const { subjects, comparisons } = subjectsOf(phase)
  const measured = await measureCpu(start, subjects, setting, plan, say)
  const summary = summarizeCpu(measured, comparisons)
  console.log(cpuTable(summary, phase === 'echo' ? 'message' : 'handshake'))
  return { ...summary, measured }
}

function subjectsOf (phase) {
  const { subjects, comparisons } = flags.against === undefined ? phases[phase] : withOtherBuild(phases[phase])
  const wanted = subjects.filter(isWanted)
  const has = (name) => wanted.some((one) => one.name === name)
  return { subjects: wanted, comparisons: comparisons.filter(({ of, to }) => has(of) && has(to)) }
}

function isWanted ({ name }) {
  return flags.subject === undefined || flags.subject.includes(name)
}

function assertArguments () {
  for (const dist of [flags.dist, ...flags.against === undefined ? [] : [flags.against]]) {
    if (!existsSync(`${dist}/index.js`)) stop(`${dist}/index.js is missing: build it first (npm run build)`)
  }
  for (const phase of flags.only ?? []) {
    if (!Object.hasOwn(measurements, phase)) stop(`--only must be one of ${Object.keys(measurements).join(', ')}`)
  }
}

/** @returns {never} */
function stop (message) {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}

async function main () {
  assertArguments()
  const plan = flags.quick ? QUICK : FULL
  const setting = { keys: createKeys(), dist: flags.dist, otherDist: flags.against }
  const isPinned = pinLoad()
  const machine = { node: process.version, cpu: cpus()[0]?.model, cores: cpus().length, loadBefore: loadavg()[0], isPinned }
  const ceiling = await measureCeiling(plan.accepted.operations * 2)
  console.log(ceilingLine(ceiling))

  for (const phase of flags.only ?? Object.keys(measurements)) {
    console.log(`\n# ${phase}\n`)
    const at = new Date().toISOString()
    writeResults(phase, { at, machine, plan: plan[phase], ceiling, ...await measurements[phase](plan[phase], setting) })
  }
  say(`\nwritten to ${flags.results}`)
}

/** Beside those of the other phases, each of which says of itself when and where it was measured. */
function writeResults (phase, result) {
  const others = existsSync(flags.results) ? JSON.parse(readFileSync(flags.results, 'utf8')) : {}
  const results = Object.fromEntries(Object.keys(measurements).map((name) => [name, name === phase ? result : others[name]]))
  writeFileSync(flags.results, JSON.stringify(results, null, 2) + '\n')
}

await main()
