// @ts-check
/*
 * node test/bench/run.mjs [--quick] [--only accepted|refused|heap] [--against <another dist folder>]
 */
import { existsSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { measureCeiling, measureCpu, measureMemory } from './measure.mjs'
import { ceilingLine, cpuTable, memoryTable, summarizeCpu, summarizeMemory } from './report.mjs'
import { pinLoad } from './server-process.mjs'
import { phases, withOtherBuild } from './subjects.mjs'
import { createKeys } from './tokens.mjs'

const FULL = {
  cpu: { sittings: 3, rounds: 6, handshakes: 2000, warmUp: 6000 },
  heap: { repetitions: 3, connections: 5000 }
}
const QUICK = {
  cpu: { sittings: 1, rounds: 5, handshakes: 1000, warmUp: 5000 },
  heap: { repetitions: 1, connections: 2000 }
}

const DIST = fileURLToPath(new URL('../../dist', import.meta.url))
const RESULTS = fileURLToPath(new URL('results.json', import.meta.url))

const { values: flags } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, only: { type: 'string' }, against: { type: 'string' } }
})

const say = (/** @type {string} */ line) => { process.stderr.write(`${line}\n`) }

function assertArguments () {
  for (const dist of [DIST, ...flags.against === undefined ? [] : [flags.against]]) {
    if (!existsSync(`${dist}/index.js`)) stop(`${dist}/index.js is missing: build it first (npm run build)`)
  }
  if (flags.only !== undefined && !Object.hasOwn(phases, flags.only)) stop(`--only must be one of ${Object.keys(phases).join(', ')}`)
}

/** @returns {never} */
function stop (message) {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}

async function main () {
  assertArguments()
  const plan = flags.quick ? QUICK : FULL
  const setting = { keys: createKeys(), dist: DIST, otherDist: flags.against }
  const isPinned = pinLoad()
  const isWanted = (phase) => flags.only === undefined || flags.only === phase
  const machine = { node: process.version, cpu: cpus()[0]?.model, cores: cpus().length, loadBefore: loadavg()[0], isPinned }
  const ceiling = await measureCeiling(plan.cpu.handshakes * 2)
  console.log(ceilingLine(ceiling))
  /** @type {Record<string, unknown>} */
  const results = { at: new Date().toISOString(), machine, plan, ceiling }

  for (const phase of /** @type {const} */ (['accepted', 'refused']).filter(isWanted)) {
    const { subjects, comparisons } = subjectsOf(phase)
    say(`\n${phase}: ${subjects.length} servers`)
    const measured = await measureCpu(subjects, setting, plan.cpu, say)
    const summary = summarizeCpu(measured, comparisons)
    results[phase] = { ...summary, measured }
    console.log(`\n# ${phase} handshakes\n\n${cpuTable(summary)}`)
  }
  if (isWanted('heap')) {
    say('\nheap')
    const measured = await measureMemory(subjectsOf('heap').subjects, setting, plan.heap, say)
    const summary = summarizeMemory(measured)
    results.heap = { ...summary, measured }
    console.log(`\n# idle connections\n\n${memoryTable(summary)}`)
  }
  writeFileSync(RESULTS, JSON.stringify(results, null, 2) + '\n')
  say(`\nwritten to ${RESULTS}`)
}

function subjectsOf (phase) {
  return flags.against === undefined ? phases[phase] : withOtherBuild(phases[phase])
}

await main()
