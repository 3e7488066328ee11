/*
 * Runs tap tests for Stryker, in processes that have loaded all libraries already: one is used again if the last test has come to its
 * end, ended if not. A mutant is killed at the first assertion that fails.
 */
import { fork } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { commonTokens, declareFactoryPlugin, PluginKind, tokens } from '@stryker-mutator/api/plugin'
import { DryRunStatus, MutantRunStatus, TestStatus } from '@stryker-mutator/api/test-runner'
import { FILES, LAST, SLOW } from './tests-of-files.mjs'

const WORKER = join(import.meta.dirname, 'worker.cjs')
/** What the first run has found out, for all runners: `{ id, file, took }` of each test. In the sandbox, which Stryker runs it in. */
const TESTS = 'tests.json'
/** How many runs a process is used for. */
const MAX_RUNS = 50
/** How long a test that has failed may take to clean up, in milliseconds. */
const CLEAN_UP = 500
/** How tap says what no test has caught: it may be left over from the mutant before. */
const UNCAUGHT = /tapCaught: (?:unhandledRejection|uncaughtException)/

class Runner {
  /** Processes that wait, the next one last. */
  #spares = []
  #tests = null
  /** Ids of tests, those first that have killed last: a mutant has its neighbours' killer, most of the time. */
  #killers = []
  #mutate
  #log

  constructor (options, log) {
    this.#log = log
    this.#mutate = options.mutate.map((pattern) => pattern.replace(/:[\d:-]+$/, ''))
  }

  capabilities () {
    return { reloadEnvironment: true }
  }

  init () {
    this.#spares.push(new Worker())
  }

  dispose () {
    for (const worker of this.#spares) worker.end()
  }

  async dryRun ({ timeout, coverageAnalysis }) {
    const known = Object.keys(FILES)
    const wanted = known.filter((file) => this.#mutate.includes(file))
    const files = new Set((wanted.length === 0 ? known : wanted).flatMap(testsOf))
    const tests = []
    const mutantCoverage = { static: {}, perTest: {} }
    for (const file of files) {
      const outcome = await this.#run({ files: [file], ids: null, isLoading: true, hasCoverage: coverageAnalysis !== 'off' }, timeout)
      if (outcome.isTimeout || outcome.why !== null) {
        return { status: DryRunStatus.Error, errorMessage: `${outcome.id ?? file}: ${outcome.why ?? 'takes too long'}` }
      }
      for (const [id, why] of outcome.failed) this.#log.warn(`fails without a mutant, and is asked about none: ${id}\n${why}`)
      tests.push(...outcome.tests.filter(({ id }) => !outcome.failed.has(id)))
      addCoverage(mutantCoverage, outcome.coverage)
    }
    writeFileSync(TESTS, JSON.stringify(tests))
    return {
      status: DryRunStatus.Complete,
      tests: tests.map(({ id, file, took }) => ({ id, name: id, fileName: resolve(file.replace(/\.js$/, '.ts')), timeSpentMs: took, status: TestStatus.Success })),
      mutantCoverage
    }
  }

  async mutantRun ({ activeMutant, testFilter, hitLimit, timeout, sandboxFileName, mutantActivation }) {
    const chosen = this.#choose(relative('.', sandboxFileName), testFilter)
    if (chosen.length === 0) return { status: MutantRunStatus.Survived, nrOfTests: 0 }
    const files = [...new Set(chosen.map(({ file }) => file))]
    const ids = chosen.map(({ id }) => id)
    const outcome = await this.#run({ files, ids, isLoading: mutantActivation === 'static', mutant: activeMutant.id, hitLimit }, timeout)
    const nrOfTests = outcome.tests.length
    if (outcome.isBroken) return { status: MutantRunStatus.Error, errorMessage: `was not run: ${outcome.id}` }
    if (outcome.isTimeout) return { status: MutantRunStatus.Timeout, reason: outcome.id ?? 'while loading' }
    if (outcome.why === null) return { status: MutantRunStatus.Survived, nrOfTests }
    const killer = outcome.id ?? chosen[0].id
    this.#killers = [killer, ...this.#killers.filter((id) => id !== killer)]
    return { status: MutantRunStatus.Killed, killedBy: [killer], failureMessage: outcome.why, nrOfTests }
  }

  /** The tests for a mutant of this file, in the order in which they are to be run. */
  #choose (mutated, testFilter) {
    this.#tests ??= JSON.parse(readFileSync(TESTS, 'utf8'))
    const files = testsOf(mutated)
    const rank = ({ id }) => (this.#killers.indexOf(id) + 1) || Infinity
    return this.#tests
      .filter(({ id, file, took }) => took <= SLOW && !LAST.includes(id) && files.includes(file) && (testFilter?.includes(id) ?? true))
      .sort((one, other) => Math.sign(rank(one) - rank(other)) || one.took - other.took)
  }

  async #run (what, timeout) {
    const worker = this.#spares.pop() ?? new Worker()
    const isFresh = worker.runs === 0
    const outcome = await worker.run(what, timeout)
    if (await worker.isClean()) this.#spares.push(worker)
    else worker.end()
    // Loads while the other works.
    if (this.#spares.length < 2) this.#spares.unshift(new Worker())
    return !isFresh && UNCAUGHT.test(outcome.why) ? this.#runAnew(what, timeout) : outcome
  }

  async #runAnew (what, timeout) {
    const worker = this.#spares.findLast(({ runs }) => runs === 0)
    const outcome = await worker.run(what, timeout)
    worker.end()
    this.#spares = this.#spares.filter((one) => one !== worker)
    return outcome
  }
}

class Worker {
  runs = 0
  #process
  #isOver = false
  /** Resolves when the run has come to its end, or the process has. */
  #settled

  constructor () {
    this.#process = fork(WORKER, {
      execArgv: [],
      // Properties are tried with the same inputs each time, so that one mutant is judged as the other.
      env: { ...process.env, FC_SEED: '20261121', TAP_BAIL: '', TAP_TIMEOUT: '0' },
      stdio: ['ignore', 'ignore', 'ignore', 'ipc']
    })
    this.#process.on('error', () => {})
    this.#process.on('exit', () => { this.#isOver = true })
  }

  /** Resolves with the first failure, or with none at the end. */
  run (what, timeout) {
    this.runs++
    return new Promise((resolve) => {
      const outcome = { id: null, tests: [], failed: new Map(), why: null, isTimeout: false }
      const finish = (more) => {
        clearTimeout(timer)
        resolve({ ...outcome, ...more })
      }
      this.#settled = new Promise((resolve) => {
        const on = (message) => {
          if (message.type === 'test') outcome.id = message.id
          else if (message.type === 'tested') outcome.tests.push(message)
          else if (message.type === 'broken') finish({ isBroken: true })
          else if (message.type === 'endless') finish({ isTimeout: true })
          else if (message.type === 'failed' && what.ids === null && outcome.id !== null) outcome.failed.set(outcome.id, message.why)
          else if (message.type === 'failed') finish({ why: message.why })
          else if (message.type === 'end') {
            this.#process.removeListener('message', on)
            finish({ coverage: message.coverage })
            resolve()
          }
        }
        this.#process.on('message', on)
        this.#process.once('exit', (code, signal) => {
          finish({ why: `the process has ended: ${code ?? signal}` })
          resolve()
        })
      })
      // A little earlier than Stryker, which would end the runner.
      const timer = setTimeout(finish, Math.max(1000, timeout - 500), { isTimeout: true })
      this.#process.send(what)
    })
  }

  /** Whether it may be used again. */
  async isClean () {
    let timer
    const late = new Promise((resolve) => { timer = setTimeout(resolve, CLEAN_UP, false) })
    const isSettled = await Promise.race([this.#settled.then(() => true), late])
    clearTimeout(timer)
    return isSettled && !this.#isOver && this.runs < MAX_RUNS
  }

  end () {
    this.#process.kill('SIGKILL')
  }
}

function testsOf (file) {
  return FILES[file].map((name) => existsSync(`test/${name}.test.js`) ? `test/${name}.test.js` : `test/${name}.long.test.js`)
}

function addCoverage (sum, more) {
  addHits(sum.static, more?.static ?? {})
  for (const [id, hits] of Object.entries(more?.perTest ?? {})) addHits(sum.perTest[id] ??= {}, hits)
}

function addHits (sum, hits) {
  for (const [mutant, count] of Object.entries(hits)) sum[mutant] = (sum[mutant] ?? 0) + count
}

function createRunner (options, log) {
  return new Runner(options, log)
}
createRunner.inject = tokens(commonTokens.options, commonTokens.logger)

export const strykerPlugins = [declareFactoryPlugin(PluginKind.TestRunner, 'tap-tests', createRunner)]
