/*
 * Runs compiled test files, each in a process of its own. `node test/run.mjs short` runs all but those named `*.long.test.js`, and
 * `node test/run.mjs long` runs those, but for the long ones of the client, which `node test/run.mjs client` runs. With folders, only theirs: `node test/run.mjs short handshake connection`. The runner of tap, which
 * `npm run coverage` uses, takes up to twice the time, because it intercepts each import of each process.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { SourceMap } from 'node:module'
import { availableParallelism } from 'node:os'
import { join, resolve, sep } from 'node:path'
import { finished } from 'node:stream/promises'
import { text } from 'node:stream/consumers'
import Reporter from './reporter.mjs'
import './timeout.mjs'

/** What tap prints at the end of a file. */
const TOTALS = /^# \{ (.*) \}$/m
/** A place in a compiled file. */
const PLACE = /(?:file:\/\/)?([^\s('"]*\.build[/\\][^\s('"]*\.js):(\d+):(\d+)/g

// What one process has compiled the others need not, from Node.js 22.1 on.
const env = { NODE_COMPILE_CACHE: resolve('.build/cache'), ...process.env }
const counts = { pass: 0, fail: 0, skip: 0, todo: 0 }
const [kind, ...folders] = process.argv.slice(2)
if (!['short', 'long', 'client'].includes(kind)) throw new Error('the first argument must be short, long or client')
/** The long tests of the client need three browsers and a quiet machine: they are a run of their own. */
const CLIENT = /^(client[/\\]|browser[/\\]client-|package[/\\](client-|chat-tabs)).*\.long\.test\.js$/
/** Files that measure time or memory, or start a browser: nothing else runs beside them, but for those of the example, which run two at a time. */
const { serial } = JSON.parse(readFileSync('package.json', 'utf8')).tap
const files = readdirSync('.build/test', { recursive: true })
  .filter((file) => file.endsWith('.test.js') && kindOf(file) === kind)
  .filter((file) => folders.length === 0 || folders.includes(file.split(sep, 1)[0]))
  .map((file) => join('.build/test', file)).sort()

console.log('TAP version 14')

// One more than there are cores, because tests wait for much of their time.
await testAll(files.filter((file) => !isAlone(file)), availableParallelism() + 1)
await testAll(files.filter((file) => isAlone(file) && isOfExample(file)), 2)
await testAll(files.filter((file) => isAlone(file) && !isOfExample(file)), 1)
const { pass, fail, skip, todo } = counts
console.log(`# ${files.length} files\n# { total: ${pass + fail + skip + todo}, pass: ${pass}, fail: ${fail}, skip: ${skip}, todo: ${todo} }`)
// Without a file, all of them would have passed.
if (counts.fail > 0 || files.length === 0) process.exitCode = 1

function kindOf (file) {
  if (CLIENT.test(file)) return 'client'
  return file.endsWith('.long.test.js') ? 'long' : 'short'
}

function isAlone (file) {
  return serial.includes(file.split(sep).join('/'))
}

function isOfExample (file) {
  return file.includes('example-')
}

/** Runs files, so many of them at once. */
async function testAll (files, atOnce) {
  const waiting = files.values()
  await Promise.all(Array.from({ length: atOnce }, async () => {
    for (const file of waiting) await test(file)
  }))
}

async function test (file) {
  const startedAt = Date.now()
  const child = spawn(process.execPath, ['--no-warnings', file], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'close')
  const output = await text(child.stdout)
  const [code] = await ended
  const totals = Object.fromEntries((TOTALS.exec(output)?.[1] ?? '').split(', ').map((pair) => pair.split(': ')))
  for (const key of Object.keys(counts)) counts[key] += Number(totals[key] ?? 0)
  // A file that ends before its totals, or without a test, has failed.
  const hasPassed = code === 0 && Number(totals.total) > 0
  if (!hasPassed && !(Number(totals.fail) > 0)) counts.fail++
  console.log(`${hasPassed ? 'ok' : 'not ok'} - ${file} # ${Date.now() - startedAt} ms`)
  if (!hasPassed || /# (?:SKIP|TODO)/.test(output)) await print(output)
}

/** Prints what failed and what was skipped. */
async function print (output) {
  const reporter = new Reporter()
  reporter.pipe(process.stdout, { end: false })
  reporter.end(output.replace(PLACE, original))
  await finished(reporter)
}

/** The place that one in a compiled file was compiled from. `--enable-source-maps` would read all maps in each process, failed or not. */
function original (place, file, line, column) {
  try {
    const map = new SourceMap(JSON.parse(readFileSync(`${file}.map`, 'utf8')))
    const { originalSource, originalLine, originalColumn } = map.findEntry(line - 1, column - 1)
    return originalSource === undefined ? place : `${resolve(file, '..', originalSource)}:${originalLine + 1}:${originalColumn + 1}`
  } catch {
    return place
  }
}
