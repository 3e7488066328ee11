// @ts-check
/*
 * What an idle connection keeps, object by object: node test/bench/heap.mjs [<subject of the question memory>] [--dist <dist>]
 * [--connections <count>] [--least <bytes of each connection below which objects are summed up>]
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { objectsBetween } from './heap-objects.mjs'
import { makeHandshakes, stayAwake } from './load.mjs'
import { openConnections } from './open-load.mjs'
import { questions } from './questions/index.mjs'
import { CONCURRENCY } from './runner.mjs'
import { scriptOf, startChecked } from './subject.mjs'
import { createKeys } from './tokens.mjs'

const { values: flags, positionals: [name = 'C'] } = parseArgs({
  options: { dist: { type: 'string' }, connections: { type: 'string', default: '2000' }, least: { type: 'string', default: '8' } },
  allowPositionals: true
})
const subject = questions.memory.subjects.find((one) => one.name === name)
if (subject === undefined) throw new Error(`there is no subject "${name}" in "memory"`)

const connections = Number(flags.connections)
const folder = mkdtempSync(join(tmpdir(), 'heap-'))
const [before, after] = ['before', 'after'].map((when) => join(folder, `${when}.heapsnapshot`))
const started = await startChecked(subject, { keys: createKeys(), dist: resolve(flags.dist ?? fileURLToPath(new URL('../../dist', import.meta.url))) })
const { server } = started
const stop = stayAwake()
try {
  const open = (/** @type {string} */ who) => openConnections({
    port: server.port, scripts: Array.from({ length: connections }, (_, i) => scriptOf(started, `${who}-${i}`)), concurrency: CONCURRENCY
  })
  await server.ask('begin')
  await makeHandshakes({ port: server.port, scripts: [scriptOf(started)], count: 1000, concurrency: CONCURRENCY })
  await server.ask('end')
  // Some are there before, so that lists are as large as they are with many.
  await open('first')
  await server.ask('snapshot', { path: before })
  await open('second')
  await server.ask('snapshot', { path: after })
} finally {
  stop()
  await server.stop()
}

const objects = [...objectsBetween(/** @type {string} */ (before), /** @type {string} */ (after))]
  .map(([label, { count, bytes }]) => ({ label, count: count / connections, bytes: bytes / connections }))
  .sort((a, b) => b.bytes - a.bytes)
rmSync(folder, { recursive: true })
const rest = objects.filter(({ bytes }) => bytes < Number(flags.least))
console.log(`"${name}", ${process.version}, of each of ${connections} idle connections\n\n bytes  count  object`)
for (const { label, count, bytes } of objects) if (bytes >= Number(flags.least)) print(bytes, count, label)
print(sum(rest, 'bytes'), sum(rest, 'count'), 'smaller ones')
print(sum(objects, 'bytes'), sum(objects, 'count'), 'all')

function print (bytes, count, label) {
  console.log(`${bytes.toFixed(0).padStart(6)} ${count.toFixed(2).padStart(6)}  ${label}`)
}

function sum (list, key) {
  return list.reduce((total, one) => total + one[key], 0)
}
