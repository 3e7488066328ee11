/*
 * A process that runs tests, a run after the other: it is told which tests and which mutant, loads lib and the tests unless it has
 * them, and says what it does as it does it. Whoever started it ends it, if a test does not come to its end.
 */
const { performance } = require('node:perf_hooks')
const { basename, resolve, sep } = require('node:path')
const { t: root } = require('tap')
for (const library of ['fastify', '@fastify/cookie', '@fastify/jwt', '@fastify/websocket', 'fast-check', 'lru-cache', 'ws']) require(library)

const { now } = Date
const { stackTraceLimit } = Error
/** A failed assertion of any depth in tap's output. */
const NOT_OK = /^ *not ok (?!.*# (?:TODO|SKIP)).*$/m

/** What Stryker's instrumentation looks at. It keeps the object, so there is only one. */
const stryker = globalThis.__stryker__ = {}

/** The tests of the first level, as their files declare them. */
let declared = []
let file = ''
let hasMutantLoaded = false

function declare (...args) {
  const title = `${basename(file, '.test.js')}: ${args[0]}`
  const same = declared.filter((one) => one.title === title).length
  declared.push({ id: same === 0 ? title : `${title} #${same + 1}`, title, file, args })
}

// Instead of tap itself, the tests get what only declares them.
const tap = new Proxy(root, {
  get (target, key) {
    const value = key === 'test' ? declare : Reflect.get(target, key)
    return typeof value === 'function' ? value.bind(target) : value
  }
})
require.cache[require.resolve('tap')].exports = { __esModule: true, t: tap, default: tap }

/** How long a timer may take that does not keep the process alive, in milliseconds. */
const PATIENCE = 3000
const { setImmediate: realImmediate, setTimeout: realTimeout } = globalThis

let isIdle = false
// It would end itself when it is idle, and run no test any more. What is exported is a proxy of it.
globalThis[Symbol.for('TAP private constructor')].end = () => {}
root.end = () => {}

let output = ''
let hasFailed = false

process.stdout.write = (chunk, encoding, callback = encoding) => {
  isIdle = false
  output += chunk
  const failed = NOT_OK.exec(output)
  if (failed !== null && !hasFailed) {
    hasFailed = true
    // Together with what tap writes below it.
    realImmediate(() => process.send({ type: 'failed', why: output.slice(failed.index, failed.index + 1000) }))
  }
  if (!hasFailed) output = output.slice(output.lastIndexOf('\n') + 1)
  if (typeof callback === 'function') callback()
  return true
}

process.on('disconnect', () => process.exit())
// While tests are run, nothing but what they wait for keeps the process alive.
process.on('beforeExit', () => {
  if (isIdle) return process.send({ type: 'failed', why: 'nothing is left that could end the test' })
  isIdle = true
  realTimeout(() => {}, PATIENCE)
})
process.on('message', (run) => { perform(run) })

/**
 * @param ids in this order; `null` for all
 * @param isLoading whether the mutant is to be active while lib is loaded
 */
async function perform ({ files, ids, isLoading, mutant, hitLimit, hasCoverage }) {
  if (isLoading || hasMutantLoaded) forget()
  hasMutantLoaded = isLoading
  restore()
  process.channel.unref()
  Object.assign(stryker, { activeMutant: mutant, hitLimit, hitCount: hitLimit === undefined ? undefined : 0, mutantCoverage: undefined, currentTestId: undefined })
  try {
    for (file of files) require(resolve(file))
  } catch (error) {
    process.send({ type: 'failed', why: `cannot be loaded: ${error?.stack}` })
    return end({})
  }
  for (const { id, file, args } of ids === null ? declared : ids.map((wanted) => declared.find(({ id }) => id === wanted))) {
    process.send({ type: 'test', id, file })
    isIdle = false
    if (hasCoverage) stryker.currentTestId = id
    const startedAt = performance.now()
    let hasRun = false
    await root.test(...args.map((arg) => typeof arg !== 'function' ? arg : (...given) => { hasRun = true; return arg(...given) }))
    if (!hasRun && ids !== null) return process.send({ type: 'broken' })
    process.send({ type: 'tested', id, file, took: performance.now() - startedAt })
    if (hitLimit !== undefined && stryker.hitCount > hitLimit) process.send({ type: 'endless' })
    await turn()
    if (hasFailed && ids !== null) break
    hasFailed = false
    output = ''
  }
  end({ coverage: stryker.mutantCoverage })
}

/** Resolves behind what is said of a failure. */
async function turn () {
  for (let i = 0; i < 2; i++) await new Promise((resolve) => realImmediate(resolve))
}

function end (more) {
  process.channel.ref()
  process.send({ type: 'end', ...more })
}

/** What a run before this one has loaded. */
function forget () {
  for (const path of Object.keys(require.cache)) {
    if (path.startsWith(process.cwd() + sep) && !path.includes(`${sep}node_modules${sep}`)) delete require.cache[path]
  }
  declared = []
}

/** What a run before this one may have left otherwise. */
function restore () {
  Date.now = now
  Error.stackTraceLimit = stackTraceLimit
  output = ''
  hasFailed = false
}
