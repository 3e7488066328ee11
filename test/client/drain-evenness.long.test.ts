/*
 * 10,000 connections over TCP, held by other processes, are drained: their closes are spread evenly over the window, in random order, with
 * each seed. What counts is when a client reads its close frame. With `CLIENT_PART=0.1` there are a thousand, with one seed.
 */
import t from 'tap'
import type { Test } from 'tap'
import { sign, until } from '../helpers/app'
import { ClientProcess, ServerProcess } from '../helpers/fleet'
import { PART } from '../helpers/part'

const COUNT = 10_000 * PART
const SEEDS = PART < 1 ? [1] : [1, 2, 3]
const PROCESSES = 2
/** In milliseconds. */
const WITHIN = PART < 1 ? 4000 : 10_000
const SLICES = PART < 1 ? 10 : 20
/** Of chi-square with 9 and with 19 degrees of freedom: one in a thousand random samples is above. */
const MOST = PART < 1 ? 27.9 : 43.8
/** How long a close frame may take to its client, in milliseconds. */
const LATE = 500

/** The sum of squares of the distances from an even distribution over the window. */
function chiSquare (instants: readonly number[]): number {
  const even = instants.length / SLICES
  const counts = Array.from({ length: SLICES }, () => 0)
  for (const at of instants) counts[Math.max(Math.min(Math.floor(at / WITHIN * SLICES), SLICES - 1), 0)]!++
  return counts.reduce((sum, count) => sum + (count - even) ** 2 / even, 0)
}

interface Evenness { readonly all: number, readonly firstHalf: number, readonly last: number }

async function drain (t: Test, seed: number): Promise<Evenness> {
  const server = await ServerProcess.start(t, null, seed)
  const processes = Array.from({ length: PROCESSES }, () => new ClientProcess(t))
  const token = sign()
  const each = COUNT / PROCESSES
  const opened = await Promise.all(processes.map((clients, i) => clients.open(server.port, Array.from({ length: each }, (_, number) => ({ number: i * each + number, token })))))
  t.strictSame(opened, processes.map(() => each), 'all are open')
  const { startedAt, result } = await server.call({ method: 'drain', match: { within: WITHIN } })
  t.equal(result.closed, COUNT)
  await until(() => processes.every(({ closed }) => closed.length === each), 'all know it')
  const closed = processes.flatMap(({ closed }) => closed)
  t.strictSame([...new Set(closed.map(({ why }) => why))], ['1001 drain'])
  t.equal(new Set(closed.map(({ number }) => number)).size, COUNT, 'each once')
  const at = closed.map(({ at }) => at - startedAt)
  const ofFirst = closed.filter(({ number }) => number < COUNT / 2).map(({ at }) => at - startedAt)
  server.end()
  for (const clients of processes) clients.end()
  return { all: chiSquare(at), firstHalf: chiSquare(ofFirst), last: Math.max(...at) }
}

for (const seed of SEEDS) {
  t.test(`with the seed ${seed} the closes of ${COUNT} connections are even over the window`, async (t) => {
    // Where a busy machine stands still, many closes come at once.
    for (let attempt = 1; attempt <= 6; attempt++) {
      const { all, firstHalf, last } = await drain(t, seed)
      t.comment(`chi-square over ${SLICES} slices of ${WITHIN} ms: ${all.toFixed(1)}, of the half that was opened first ${firstHalf.toFixed(1)}; the last close was read after ${last.toFixed()} ms`)
      if (all > MOST || firstHalf > MOST || last > WITHIN + LATE) continue
      t.ok(firstHalf > 1, 'the order is not a regular one')
      return t.pass('even')
    }
    t.fail('not even in one of six attempts')
  })
}
