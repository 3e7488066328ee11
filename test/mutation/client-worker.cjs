/*
 * A process that runs the tests of test/client/model for one mutant after the other, and stops at the first that fails.
 */
const assert = require('node:assert/strict')
const { resolve } = require('node:path')
const fc = require('fast-check')
const { match, strict } = require('tcompare')

const path = resolve(process.argv[2])
const TAPES = fc.sample(fc.uint8Array({ minLength: 10, maxLength: 60, size: 'max' }), { numRuns: 700, seed: 20261121 })
const stryker = globalThis.__stryker__ = {}
let tests = []
let uncaught = null

const t = {
  test: (title, run) => tests.push({ title, run }),
  pass () {},
  ok: (value) => assert.ok(value),
  notOk: (value) => assert.ok(!value),
  equal: (found, wanted) => assert.ok(Object.is(found, wanted)),
  strictSame: (found, wanted) => assert.ok(strict(found, wanted).match),
  match: (found, wanted) => assert.ok(match(found, wanted).match),
  throws (run, wanted) {
    let error
    try { run() } catch (caught) { error = caught }
    assert.ok(error !== undefined && (wanted === undefined || isLike(error, wanted)))
  },
  async rejects (promise, wanted) {
    const error = await promise.then(() => undefined, (error) => error)
    assert.ok(error !== undefined && (wanted === undefined || isLike(error, wanted)))
  }
}

function isLike (error, wanted) {
  if (typeof wanted === 'function') return error instanceof wanted
  return wanted instanceof RegExp ? wanted.test(error.message) : match(error, wanted).match
}

require.cache[require.resolve('tap')] = { id: 'tap', loaded: true, exports: { __esModule: true, t, default: t } }
for (const event of ['unhandledRejection', 'uncaughtException']) process.on(event, (error) => { uncaught ??= error })

process.on('disconnect', () => process.exit())
process.on('message', async ({ id }) => {
  Object.assign(stryker, { activeMutant: id, mutantCoverage: undefined })
  uncaught = null
  const killer = await run()
  process.send({ killer, isBroken: uncaught !== null })
})

async function run () {
  tests = []
  let title = 'while loading'
  try {
    delete require.cache[path]
    const { play } = require(path)
    for (const test of tests) {
      title = test.title
      await within(test.run(t))
      await new Promise((resolve) => setImmediate(resolve))
      if (uncaught !== null) throw uncaught
    }
    for (const tape of TAPES) {
      title = 'the model'
      await within(play(tape))
      if (uncaught !== null) throw uncaught
    }
    return null
  } catch (error) {
    return stryker.activeMutant === undefined ? `${title}: ${error.stack}` : title
  }
}

const { setTimeout: realTimeout, clearTimeout: realClear } = globalThis

/** A promise that never settles is a failure. */
async function within (promise) {
  let timer
  const late = new Promise((resolve, reject) => { timer = realTimeout(reject, 2000, new Error('never ends')) })
  await Promise.race([promise, late]).finally(() => realClear(timer))
}
