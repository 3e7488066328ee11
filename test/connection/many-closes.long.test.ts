/*
 * 10,000 connections are closed at once. The event loop goes on, and the decision is in force on all of them from the first turn. The
 * connections are in memory, so the process does the work of the clients too.
 */
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import { prepare, sign, until } from '../helpers/app'
import { openMany } from '../helpers/memory-crowd'
import { clientFrame } from '../helpers/raw-client'

const COUNT = 10_000
/** How much CPU time closing may take in a turn of the event loop, in milliseconds: a slice of 10, what the clients of a slice answer, and the rest for a busy machine. Without slices it is 1,000. */
const LONGEST = 150

/** Measures the CPU time of turns of the event loop that have work: other processes make a turn longer, and not its CPU time. @returns ends it, with the times in milliseconds in ascending order */
function watchTurns (): () => number[] {
  const turns: number[] = []
  let isOver = false
  let last = process.cpuUsage()
  const turn = (): void => {
    const { user, system } = process.cpuUsage(last)
    turns.push((user + system) / 1000)
    last = process.cpuUsage()
    if (!isOver) setImmediate(turn)
  }
  setImmediate(turn)
  return () => {
    isOver = true
    return turns.filter((time) => time > 1).sort((a, b) => a - b)
  }
}

async function measure (app: FastifyInstance, close: () => Promise<{ closed: number }>): Promise<{ closed: number, blocked: number, took: number, p99: number, longest: number, waiting: number, found: number }> {
  const token = sign({ sub: 'ann' })
  const clients = await openMany(app, '/ws', COUNT, () => ({ authorization: `Bearer ${token}` }))
  await until(() => app.wsAuth.connections.size === COUNT, 'all are open')
  const stop = watchTurns()
  await new Promise((resolve) => setTimeout(resolve, 100))
  const startedAt = performance.now()
  const closing = close()
  const blocked = performance.now() - startedAt
  const found = app.wsAuth.connections.size
  const waiting = clients.filter(({ close }) => close === '').length
  clients.at(-1)?.send(clientFrame(1, 'late'))
  const { closed } = await closing
  await until(() => clients.every(({ close }) => close !== ''), 'all are closed')
  const turns = stop()
  return { closed, blocked, took: performance.now() - startedAt, p99: turns[Math.floor(turns.length * 0.99)] as number, longest: turns.at(-1) as number, waiting, found }
}

t.test('revoking or disconnecting 10,000 connections of a user leaves the event loop free between slices, and none of them is heard meanwhile', async (t) => {
  const heard: string[] = []
  const { app } = await prepare(t, {
    server: { logger: false },
    routes: (app) => app.get('/ws', { websocket: true }, (socket) => { socket.on('message', (data) => heard.push(String(data))) })
  })
  const ways = { disconnect: async () => await app.wsAuth.disconnect({ sub: 'ann' }), revoke: async () => await app.wsAuth.revoke({ sub: 'ann' }) }
  for (const [way, close] of Object.entries(ways)) {
    const { closed, blocked, took, p99, longest, waiting, found } = await measure(app, close)
    t.comment(`${way}: ${closed} closed in ${took.toFixed()} ms; the call took ${blocked.toFixed(1)} ms and left ${waiting} for later; turns: 99 % within ${p99.toFixed(1)} ms, the longest ${longest.toFixed(1)} ms`)
    t.equal(closed, COUNT)
    t.equal(found, 0, 'none is found any more')
    t.ok(waiting > COUNT / 2, 'most wait for their slice')
    // The clients answer in the same turns, and garbage is collected in some.
    t.ok(p99 <= LONGEST, `99 of 100 turns take at most ${p99.toFixed(1)} ms of CPU`)
  }
  t.strictSame(heard, [])
})
