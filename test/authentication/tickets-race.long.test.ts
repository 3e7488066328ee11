/*
 * Many uses of one ticket at once: one of them has it.
 */
import t from 'tap'
import type { Claims } from '../../lib/token/claims'
import { memoryBackplane } from '../../lib/backplane/memory'
import { Tickets } from '../../lib/authentication/tickets'
import { backplaneWith, handshake, nobody, startChat, TTL } from '../helpers/ticket-chat'
import { statsOf } from '../helpers/stats'

const RULES = { required: [], clockTolerance: 0, checkExpiry: true, checkNotBefore: true, maxAge: null }

t.test('exactly one of 100 handshakes with one ticket is accepted, over real sockets', async (t) => {
  const { app, port, opened, ticket } = await startChat(t)
  for (let round = 0; round < 5; round++) {
    const path = `/chat?ticket=${await ticket()}`
    const outcomes = await Promise.all(Array.from({ length: 100 }, async () => await handshake(t, port, path)))
    t.equal(outcomes.filter((outcome) => outcome === '101').length, 1)
    t.equal(outcomes.filter((outcome) => outcome === '401 WS_AUTH_TICKET_INVALID').length, 99)
  }
  t.equal(opened.length, 5)
  t.equal(statsOf(app).accepted, 5)
  t.equal(statsOf(app).refused.WS_AUTH_TICKET_INVALID, 5 * 99)
})

t.test('exactly one of 100 handshakes with one ticket is accepted, over injectWS, also if the store is slow', async (t) => {
  const late = memoryBackplane().join(nobody())
  const backplane = backplaneWith({
    put: late.put,
    take: async (name) => {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 5))
      return await late.take(name)
    }
  })
  for (const plugin of [{}, { backplane }]) {
    const { app, ticket } = await startChat(t, plugin, { server: { logger: false } })
    for (let round = 0; round < 5; round++) {
      const path = `/chat?ticket=${await ticket()}`
      const outcomes = await Promise.allSettled(Array.from({ length: 100 }, async () => await app.injectWS(path)))
      t.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
    }
    t.equal(statsOf(app).accepted, 5)
  }
})

t.test('exactly one of 100 uses of one ticket succeeds, 1,000 times', async (t) => {
  const tickets = new Tickets(memoryBackplane().join(nobody()), TTL, RULES)
  const use = { path: '/', origin: undefined, isSpent: true }
  let wins = 0
  let wrong = 0
  for (let round = 0; round < 1000; round++) {
    const claims: Claims = { sub: `user ${round}` }
    const { ticket } = await tickets.issue({ claims, user: claims }, {})
    const outcomes = await Promise.allSettled(Array.from({ length: 100 }, async () => await tickets.read(ticket, use)))
    const won = outcomes.filter((outcome) => outcome.status === 'fulfilled')
    if (won.length === 1 && won[0]?.value.claims.sub === claims.sub) wins++
    wrong += outcomes.filter((outcome) => outcome.status === 'rejected' && outcome.reason?.code !== 'WS_AUTH_TICKET_INVALID').length
  }
  t.equal(wins, 1000)
  t.equal(wrong, 0)
})
