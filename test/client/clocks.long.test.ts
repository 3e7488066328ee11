/*
 * The clock of a device is wrong, is set, or stops while the device sleeps: a client does the same as one whose clock is right.
 */
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { sign, start, until } from '../helpers/app'
import { watch } from '../helpers/client-socket'

const HOUR = 3_600_000
const DAY = 24 * HOUR

/** Gives the device another clock. The server is asked in its own process only for tokens, which it signs by the right time. */
class Clock {
  readonly #now = Date.now
  readonly #steady = performance.now.bind(performance)
  #offset = 0
  #stoppedAt: number | null = null
  #slept = 0
  /** Whether the code that asks is the client's. */
  readonly #isClient = (): boolean => /[/\\]lib[/\\]client[/\\]/.test(new Error('where').stack?.split('\n').slice(3, 5).join() ?? '')

  constructor (t: Test) {
    Date.now = () => this.#now() + (this.#isClient() ? this.#offset : 0)
    performance.now = () => {
      if (!this.#isClient()) return this.#steady()
      return (this.#stoppedAt ?? this.#steady()) - this.#slept
    }
    t.teardown(() => {
      Date.now = this.#now
      performance.now = this.#steady
    })
  }

  /** Sets the clock of the wall. */
  set (offset: number): void {
    this.#offset = offset
  }

  /** The steady clock stops, as it does in some systems while they sleep. */
  sleep (): void {
    this.#stoppedAt = this.#steady()
  }

  wake (): void {
    this.#slept += this.#steady() - (this.#stoppedAt as number)
    this.#stoppedAt = null
  }
}

interface Seen {
  readonly calls: ReadonlyArray<readonly [why: string, code: string | null]>
  readonly events: readonly string[]
  readonly handshakes: number
  readonly expiresIn: number | null
}

/** A life with all that depends on time: two connections with one token, a renewal by the hint, and a third connection. */
async function live (t: Test, change: (step: 'before' | 'open' | 'closed' | 'renewed') => void): Promise<Seen> {
  const { app, port } = await start(t, { routes: (app) => { app.get('/', { websocket: true }, () => {}) } })
  change('before')
  const { socket, calls, events, states, handshakes } = watch(t, `ws://127.0.0.1:${port}/`, ({ why }) => {
    const life = why === 'renew' ? 600 : 5
    return { token: sign({ sub: 'ann', iat: Math.floor(performance.timeOrigin / 1000), exp: Math.floor((performance.timeOrigin + performance.now()) / 1000) + life }), expiresIn: life * 1000 }
  }, { retry: { base: 10, crowd: 10 } })
  await socket.opened
  const { state } = socket
  change('open')
  await app.wsAuth.disconnect({ sub: 'ann' }, { code: 4000, reason: 'again' })
  await until(() => states.some(({ status }) => status === 'waiting'), 'a loss')
  change('closed')
  await socket.opened
  await until(() => calls.length === 2, 'a call for a renewal', 20_000)
  await until(() => states.at(-1)?.status === 'open' && (states.at(-1) as { expiresIn: number }).expiresIn > 60_000, 'the renewal')
  change('renewed')
  await app.wsAuth.disconnect({ sub: 'ann' }, { code: 4000, reason: 'again' })
  await until(() => handshakes() === 3, 'a third connection')
  await socket.opened
  await pause(20)
  return { calls: calls.map(({ why, code }) => [why, code]), events: [...events], handshakes: handshakes(), expiresIn: state.status === 'open' ? state.expiresIn : null }
}

const RIGHT: Omit<Seen, 'expiresIn'> = {
  calls: [['connect', null], ['renew', null]],
  events: ['open', 'close 4000 again', 'open', 'close 4000 again', 'open'],
  handshakes: 3
}

/** One more call, because the longer time counts: the kept token may have expired while the device slept. */
const ONE_MORE: Omit<Seen, 'expiresIn'> = { ...RIGHT, calls: [['connect', null], ['connect', null], ['renew', null]] }

const CASES: Readonly<Record<string, readonly [change: (clock: Clock, step: string) => void, seen: Omit<Seen, 'expiresIn'>]>> = {
  'is right': [() => {}, RIGHT],
  'is an hour fast': [(clock) => clock.set(HOUR), RIGHT],
  'is an hour slow': [(clock) => clock.set(-HOUR), RIGHT],
  'is a day fast': [(clock) => clock.set(DAY), RIGHT],
  'is a day slow': [(clock) => clock.set(-DAY), RIGHT],
  'is set back by a day while the connection is open': [(clock, step) => clock.set(step === 'before' ? 0 : -DAY), RIGHT],
  'stops while the device sleeps': [(clock, step) => { if (step === 'open') clock.sleep(); else if (step === 'closed') clock.wake() }, RIGHT]
}

for (const [name, [change, seen]] of Object.entries(CASES)) {
  t.test(`a client whose clock ${name} does what it should`, async (t) => {
    const clock = new Clock(t)
    const { expiresIn, ...rest } = await live(t, (step) => change(clock, step))
    t.strictSame(rest, seen)
    t.ok(expiresIn !== null && expiresIn > 3000 && expiresIn <= 5000, `the life is that of the server: ${expiresIn} ms`)
  })
}

t.test('a client whose clock is set forward by a day while the connection is open asks for one token more', async (t) => {
  const clock = new Clock(t)
  const { expiresIn, ...rest } = await live(t, (step) => clock.set(step === 'before' ? 0 : DAY))
  t.strictSame(rest, ONE_MORE)
  t.ok(Number(expiresIn) <= 5000)
})
