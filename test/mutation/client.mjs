/*
 * Mutation testing of lib/client: `npm run mutation:client`. Stryker's instrumenter makes the mutants; the examples and the model of
 * test/client/model, which need neither time nor a network, are asked about each in one of two processes. It takes minutes. With the names of files
 * (`npm run mutation:client -- wallet.ts`), only their mutants; with `--again`, only those that lived in the run before. The report is .stryker/client.json.
 */
import { fork } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createInstrumenter } from '@stryker-mutator/instrumenter'
import { build } from 'esbuild'
import { createInjector } from 'typed-inject'

const SOURCES = 'lib/client'
const SANDBOX = '.stryker/client'
const PROCESSES = 2
/** How long one mutant may take, in milliseconds. An endless loop is a mutant that is killed. */
const TIMEOUT = 20_000
/** Types, and texts that nobody but a developer reads. */
const IGNORED = ['types.ts']
const wanted = process.argv.slice(2).filter((argument) => argument !== '--again')
/** With `--again`, only those that survived the last run, if lib/client is the same since. */
const before = process.argv.includes('--again') ? JSON.parse(readFileSync('.stryker/client.json', 'utf8')) : []

const names = readdirSync(SOURCES).filter((name) => name.endsWith('.ts') && !IGNORED.includes(name))
const silent = Object.fromEntries(['trace', 'debug', 'info', 'warn', 'error', 'fatal'].map((level) => [level, () => {}]))
const logger = { ...silent, isDebugEnabled: () => false, isTraceEnabled: () => false, isInfoEnabled: () => false }
const { files, mutants } = await createInstrumenter(createInjector().provideValue('logger', logger)).instrument(
  names.map((name) => ({ name, mutate: wanted.length === 0 || wanted.includes(name), content: readFileSync(`${SOURCES}/${name}`, 'utf8') })),
  { plugins: null, excludedMutations: [], ignorers: [], mutator: { plugins: null } }
)
rmSync(SANDBOX, { recursive: true, force: true })
mkdirSync(`${SANDBOX}/lib/client`, { recursive: true })
for (const { name, content } of files) writeFileSync(`${SANDBOX}/lib/client/${name}`, content)
await build({
  stdin: { contents: tests(), resolveDir: '.', loader: 'ts' },
  outfile: `${SANDBOX}/tests.cjs`,
  bundle: true,
  format: 'cjs',
  platform: 'node',
  target: 'es2022',
  external: ['tap', 'fast-check'],
  logLevel: 'error',
  plugins: [{
    name: 'mutants',
    setup ({ onResolve }) {
      onResolve({ filter: /lib\/client\/index$/ }, () => ({ path: `${process.cwd()}/${SANDBOX}/lib/client/index.ts` }))
    }
  }]
})

const outcomes = new Map(before.filter(({ killer }) => killer !== null).map(({ id, killer }) => [id, killer]))
const waiting = [null, ...mutants.filter(({ id }) => !outcomes.has(id))].values()
await Promise.all(Array.from({ length: PROCESSES }, work))
report()

function tests () {
  const imports = readdirSync('test/client/model').filter((name) => /^(?!model).*\.test\.ts$/.test(name)).map((name) => `import './test/client/model/${name}'`)
  return `${imports.join('\n')}\nexport { play } from './test/client/model/player'\n`
}

async function work () {
  let worker = null
  for (const mutant of waiting) {
    worker ??= start()
    const outcome = await ask(worker, mutant?.id)
    if (outcome.isBroken) {
      worker.kill('SIGKILL')
      worker = null
    }
    if (mutant === null && outcome.killer !== null) throw new Error(`a test fails without a mutant: ${outcome.killer}`)
    if (mutant === null) continue
    outcomes.set(mutant.id, outcome.killer)
    if (outcomes.size % 100 === 0) console.log(`${outcomes.size} of ${mutants.length}`)
  }
  worker?.kill('SIGKILL')
}

function start () {
  const worker = fork(`${import.meta.dirname}/client-worker.cjs`, [`${SANDBOX}/tests.cjs`], { execArgv: ['--max-old-space-size=400'], stdio: ['ignore', 'ignore', 'ignore', 'ipc'] })
  // A process that has ended cannot be asked: its end says so.
  return worker.on('error', () => {})
}

async function ask (worker, id) {
  return await new Promise((resolve) => {
    const finish = (outcome) => {
      clearTimeout(timer)
      worker.removeAllListeners('message')
      worker.removeAllListeners('exit')
      resolve(outcome)
    }
    const timer = setTimeout(finish, TIMEOUT, { killer: 'takes too long', isBroken: true })
    worker.once('message', finish)
    worker.once('exit', () => finish({ killer: 'the process has ended', isBroken: true }))
    worker.send({ id })
  })
}

function report () {
  const rows = mutants.map(({ id, fileName, location: { start }, mutatorName, replacement }) => ({ id, place: `${fileName}:${start.line + 1}:${start.column + 1}`, mutatorName, replacement, killer: outcomes.get(id) }))
  writeFileSync('.stryker/client.json', JSON.stringify(rows, null, 1))
  const survivors = rows.filter(({ killer }) => killer === null)
  for (const { id, place, replacement } of survivors) console.log(`${id} ${place} ${replacement.replace(/\s+/g, ' ').slice(0, 120)}`)
  console.log(`${rows.length - survivors.length} of ${rows.length} mutants are killed: ${(100 - survivors.length / rows.length * 100).toFixed(1)} %`)
}
