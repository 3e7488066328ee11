// @ts-check
/*
 * node test/bench/run.mjs [--quick] [--only accepted|refused|storm|echo|memory|growth|ends|arming|start|scale]... [--against <another dist folder>]
 *   [--dist <the dist folder>] [--subject <name>]... [--connections <of the question scale>] [--results <file>]
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus, loadavg, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { draw } from './draw.mjs'
import { measureCeiling } from './measure.mjs'
import { questions } from './questions/index.mjs'
import { ceilingLine } from './report.mjs'
import { pinLoad } from './server-process.mjs'
import { createKeys } from './tokens.mjs'

/** Handshakes with a server that does nothing. */
const CEILING_COUNT = 4000
/** Of the most connections, and what is open beside. */
const DESCRIPTORS = 15_500
/** The questions that need fewer, or take what there is. */
const FRUGAL = ['refused', 'arming', 'start', 'scale']
const PACKAGES = ['fastify', '@fastify/websocket', '@fastify/jwt', 'fast-jwt', 'ws', 'jsonwebtoken', 'express', 'express-jwt', 'socket.io']
/** Those that npm leaves out on other platforms than Linux on x64. */
const OPTIONAL = ['@oven/bun-linux-x64', '@deno/linux-x64-glibc']

const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url))
const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true },
    subject: { type: 'string', multiple: true },
    connections: { type: 'string' },
    against: { type: 'string' },
    dist: { type: 'string', default: here('../../dist') },
    results: { type: 'string', default: here('results.json') }
  }
})

const say = (/** @type {string} */ line) => { process.stderr.write(`${line}\n`) }

/** The subjects that are wanted, those of the plugin a second time where another build is compared. */
function askedOf ({ subjects, comparisons }) {
  const both = flags.against === undefined ? { subjects, comparisons } : withOtherBuild({ subjects, comparisons })
  const wanted = both.subjects.filter(({ name }) => flags.subject === undefined || flags.subject.includes(name))
  const has = (name) => wanted.some((one) => one.name === name)
  return { subjects: wanted, comparisons: both.comparisons.filter(({ of, to }) => has(of) && has(to)) }
}

function withOtherBuild ({ subjects, comparisons }) {
  const ours = subjects.filter(({ name }) => name.startsWith('C'))
  const otherName = (/** @type {string} */ name) => name.replace('C', 'D')
  return {
    subjects: [...subjects, ...ours.map((one) => ({ ...one, name: otherName(one.name), isOtherBuild: true }))],
    comparisons: [...comparisons, ...ours.map(({ name }) => ({ of: otherName(name), to: name }))]
  }
}

function assertArguments () {
  for (const dist of [flags.dist, ...flags.against === undefined ? [] : [flags.against]]) {
    if (!existsSync(`${dist}/index.js`)) stop(`${dist}/index.js is missing: build it first (npm run build)`)
  }
  for (const name of flags.only ?? []) {
    if (!Object.hasOwn(questions, name)) stop(`--only must be one of ${Object.keys(questions).join(', ')}`)
  }
}

/** Nothing is made smaller than it says it is. */
function assertDescriptors () {
  if (flags.only?.every((name) => FRUGAL.includes(name))) return
  const { hard } = /** @type {any} */ (process.report.getReport()).userLimits.open_files
  if (Number(hard) < DESCRIPTORS) stop(`a process may have ${hard} open files, and needs ${DESCRIPTORS}: see ulimit -Hn`)
}

/** @returns {never} */
function stop (message) {
  say(message)
  process.exit(1)
}

/** The versions that are compared. Those of the others are in a folder of their own. */
function versions () {
  const require = createRequire(import.meta.url)
  const find = (/** @type {string} */ name) => require.resolve.paths(name)?.map((path) => `${path}/${name}/package.json`).find(existsSync)
  const found = [...PACKAGES, ...OPTIONAL].flatMap((name) => {
    const path = find(name) ?? (OPTIONAL.includes(name) ? null : stop(`${name} is not installed`))
    return path === null ? [] : [[name, JSON.parse(readFileSync(path, 'utf8')).version]]
  })
  return Object.fromEntries(found)
}

function planOf (name) {
  const plan = questions[name].plans[flags.quick ? 'quick' : 'full']
  return name === 'scale' && flags.connections !== undefined ? { ...plan, connections: Number(flags.connections) } : plan
}

async function answer (name, setting, { machine, ceiling }) {
  const question = questions[name]
  const plan = planOf(name)
  const { subjects, comparisons } = askedOf(question)
  const at = new Date().toISOString()
  const loadBefore = loadavg()[0]
  const measured = await question.measure(subjects, setting, plan, say)
  const summary = question.summarize(measured, comparisons)
  console.log(question.table(summary))
  writeResults(name, { at, machine: { ...machine, loadBefore }, plan, ceiling, ...summary, measured })
  say(`${name} took ${Math.round((Date.now() - Date.parse(at)) / 1000)} s`)
}

async function main () {
  assertArguments()
  assertDescriptors()
  const setting = { keys: createKeys(), dist: flags.dist, otherDist: flags.against }
  const isPinned = pinLoad()
  const machine = {
    node: process.version, cpu: cpus()[0]?.model, cores: cpus().length, memory: totalmem(), isPinned, versions: versions()
  }
  const ceiling = await measureCeiling(CEILING_COUNT)
  console.log(ceilingLine(ceiling))

  for (const name of flags.only ?? Object.keys(questions)) {
    console.log(`\n# ${name}\n`)
    try {
      await answer(name, setting, { machine, ceiling })
    } catch (error) {
      // The others can be answered, and what was measured before stays.
      say(`${name} was not measured: ${/** @type {Error} */ (error).stack}`)
      process.exitCode = 1
    }
  }
  if (!existsSync(flags.results)) return
  writeFileSync(flags.results.replace(/(\.json)?$/, '.svg'), draw(JSON.parse(readFileSync(flags.results, 'utf8'))))
  say(`\nwritten to ${flags.results}, and drawn beside it`)
}

/** Beside those of the other questions, each of which says of itself when and where it was measured. */
function writeResults (name, result) {
  const others = existsSync(flags.results) ? JSON.parse(readFileSync(flags.results, 'utf8')) : {}
  const results = Object.fromEntries(Object.keys(questions).map((one) => [one, one === name ? result : others[one]]))
  writeFileSync(flags.results, JSON.stringify(results) + '\n')
}

await main()
