// @ts-check
/*
 * Where the CPU time of one subject goes: node test/bench/profile.mjs <accepted|refused|storm|echo> <subject> [--against <dist>] [--out <file>]
 * Without garbage collection and native code folded in: what stands at the top is the function that was running.
 */
import { writeFileSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { questions } from './questions/index.mjs'
import { pinLoad } from './server-process.mjs'
import { createKeys } from './tokens.mjs'

const OPERATIONS = { accepted: 20_000, refused: 20_000, storm: 5000, echo: 200_000 }

const { values: flags, positionals: [phase = 'accepted', name = 'C'] } = parseArgs({
  options: { against: { type: 'string' }, out: { type: 'string' } }, allowPositionals: true
})
const subject = questions[phase]?.subjects.find((one) => one.name === name)
if (subject === undefined || !Object.hasOwn(OPERATIONS, phase)) throw new Error(`there is no subject "${name}" in "${phase}"`)

pinLoad()
const dist = resolve(flags.against ?? fileURLToPath(new URL('../../dist', import.meta.url)))
const operations = OPERATIONS[phase]
const runner = await questions[phase].start(subject, { keys: createKeys(), dist })
await runner.warmUp(phase === 'storm' ? operations : operations / 2)
const profile = await runner.profile(operations)
await runner.stop()
if (flags.out !== undefined) writeFileSync(flags.out, JSON.stringify(profile))

const { self, total } = timesOf(profile)
console.log(`us per operation, of ${operations} operations of "${name}" (${phase})`)
console.log('\n  self  function')
print(self, 45)
console.log('\n total  function of fastify-ws-auth')
print(new Map([...total].filter(([where]) => where.includes(' dist/'))), 60)

function print (times, count) {
  for (const [where, time] of [...times].sort((a, b) => b[1] - a[1]).slice(0, count)) {
    console.log(`${(time / operations).toFixed(2).padStart(6)}  ${where}`)
  }
}

/**
 * Time in each function by itself, and with all that it called (a recursion counts once).
 *
 * @param {import('node:inspector').Profiler.Profile} profile
 */
function timesOf ({ nodes, samples = [], timeDeltas = [] }) {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const own = new Map()
  samples.forEach((id, i) => own.set(id, (own.get(id) ?? 0) + (timeDeltas[i] ?? 0)))
  const self = new Map()
  const total = new Map()
  const walk = (node, above) => {
    const where = nameOf(node.callFrame)
    let time = own.get(node.id) ?? 0
    self.set(where, (self.get(where) ?? 0) + time)
    for (const child of node.children ?? []) time += walk(byId.get(child), [...above, where])
    if (!above.includes(where)) total.set(where, (total.get(where) ?? 0) + time)
    return time
  }
  walk(nodes[0], [])
  return { self, total }
}

function nameOf ({ functionName, url, lineNumber }) {
  const file = url.replace(/^.*\/node_modules\//, '').replace(/^file:\/\//, '')
  const place = file.startsWith(`${dist}/`) ? `dist/${basename(file)}` : file
  return `${functionName || '(anonymous)'} ${place}${url === '' ? '' : `:${lineNumber + 1}`}`
}
