/*
 * The slot of a user that a first message takes is given back if the wait ends, in whichever moment between the answer of the backplane
 * and the connection that is.
 */
import t from 'tap'
import type { Backplane } from '../../lib/backplane/contract'
import type { LeaseRules, Leases, ReleaseLease } from '../../lib/backplane/leases'
import { memoryBackplane } from '../../lib/index'
import { partsOf } from '../../lib/plugin/running-apps'
import { sign, start, until } from '../helpers/app'
import { clientFrame, upgrade } from '../helpers/raw-client'

/** A backplane that takes a slot when it is told to. `isAsked` is whether one was asked for, `taken` how many are taken. */
function slowBackplane (): { backplane: Backplane, isAsked: () => boolean, answer: () => void, taken: () => number } {
  const memory = memoryBackplane()
  let answer: (() => void) | null = null
  let taken = 0
  const slow = (leases: Leases): Leases => ({
    hold: (user, onLost) => leases.hold(user, onLost),
    isFree: (user) => leases.isFree(user),
    take: (user, onLost) => new Promise((resolve) => {
      answer = () => {
        const release = leases.take(user, onLost) as ReleaseLease
        taken++
        resolve(() => {
          taken--
          release()
        })
      }
    })
  })
  const join: Backplane['join'] = (...args) => {
    const link = memory.join(...args)
    return Object.create(link, { leases: { value: (rules: LeaseRules) => slow(link.leases?.(rules) as Leases) } }) as typeof link
  }
  return { backplane: { join }, isAsked: () => answer !== null, answer: () => answer?.(), taken: () => taken }
}

t.test('the slot of a first message is given back if its wait ends, in each of the microtasks before it is a connection', async (t) => {
  const outcomes = new Set<string>()
  for (let ticks = 0; ticks < 12; ticks++) {
    const { backplane, isAsked, answer, taken } = slowBackplane()
    const { app, port } = await start(t, {
      plugin: { backplane, token: { message: true }, limits: { perUser: { max: 1, scope: 'cluster' } } },
      routes: (app) => { app.get('/', { websocket: true }, () => {}) }
    })
    const client = await upgrade(t, port)
    client.send(clientFrame(1, JSON.stringify({ type: 'auth', token: sign({ sub: 'ann' }) })))
    await until(isAsked, 'the slot is asked for')
    answer()
    for (let i = 0; i < ticks; i++) await null
    partsOf(app)?.waitingRoom.close()
    await until(() => taken() === app.wsAuth.connections.size, `the slot is given back after ${ticks} microtasks`)
    outcomes.add(app.wsAuth.connections.size === 1 ? 'open' : 'ended')
    client.socket.destroy()
    await until(() => taken() === 0, 'the slot is free')
  }
  t.strictSame([...outcomes], ['ended', 'open'], 'the wait was ended before and after')
})
