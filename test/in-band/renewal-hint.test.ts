/*
 * The hint to renew: when it comes, and to which connections.
 */
import t from 'tap'
import { OpenConnection } from '../../lib/connection/open-connection'
import type { CompleteRouteOptions } from '../../lib/options/complete-options'
import { Sweep } from '../../lib/connection/sweep'
import fastifyWsAuth from '../../lib/index'
import { sign } from '../helpers/app'
import { plain } from '../helpers/plain-frames'
import { moveClock, startChat } from '../helpers/renewal-app'
import { from } from '../helpers/renewals'
import type { Claims } from '../helpers/renewals'

/** A host of connections that have no socket, and what was sent to them. */
class Silence {
  readonly sweep = new Sweep()
  readonly grace: number = 0
  readonly hasFrames: () => boolean = () => true
  readonly maxFrameBytes = 9216
  readonly endByAge = (): number => Infinity
  readonly renewals = { renew: async () => { throw new Error('not here') }, attach: () => {}, abort: () => {}, onFrame: () => {} }
  readonly route
  readonly ended: string[] = []
  constructor (maxLifetime: number) {
    this.route = { maxLifetime, closeCodes: { unauthorized: 3000 } } as CompleteRouteOptions
  }

  watch (): null { return null }

  onChanged (): void {}

  letGo (): void {}

  onEnd (_connection: unknown, _request: unknown, reason: string): void { this.ended.push(reason) }
}

/** Opens a connection, and counts the hints that it gets by the second in which they come. */
function openSilent (host: Silence, claims: Claims, hints: number[], hasFrames = true): OpenConnection {
  const socket = {
    send: (text: string) => { if (text.startsWith('{"type":"auth.renew",')) hints.push(Date.now()) },
    close: () => {},
    _receiver: {}
  }
  const expiresAt = claims.exp === undefined ? null : Number(claims.exp) * 1000
  const connection = new OpenConnection(socket as never, {} as never, { user: claims as never, claims, sub: null, groups: [], source: 'header', expiresAt }, host)
  connection.start(hasFrames)
  return connection
}

t.test('the hint to renew comes in time, and only if the client can use it', async (t) => {
  const DAY = 86_400_000
  /** When it was that connections were opened and hinted, in seconds from the issue of their tokens, which live 300 s. */
  const crowds: Array<[name: string, openedAt: number, claims: (now: number) => Claims, first: number, last: number]> = [
    ['tokens of one second', 0, (now) => ({ iat: now, exp: now + 300 }), 240, 285],
    ['tokens without iat', 0, (now) => ({ exp: now + 300 }), 240, 285],
    ['tokens that are half spent', 150, (now) => ({ iat: now, exp: now + 300 }), 240, 285],
    ['tokens in the last fifth of their life', 250, (now) => ({ iat: now, exp: now + 300 }), 250, 285],
    ['tokens past three quarters of the last fifth of their life', 290, (now) => ({ iat: now, exp: now + 300 }), 290, 297.5],
    ['tokens that were issued long ago', 290, (now) => ({ iat: now - 3e6, exp: now + 300 }), 290, 297.5],
    ['tokens that are said to be as old as the world', 0, (now) => ({ iat: -1e300, exp: now + 300 }), 0, 225],
    ['tokens that were issued by a clock that is ahead', 0, (now) => ({ iat: now + 50, exp: now + 300 }), 250, 287.5]
  ]
  for (const [name, openedAt, claimsOf, first, last] of crowds) {
    await t.test(`the hint to renew comes once for each of a crowd of ${name}, spread over the available time`, async (t) => {
      const COUNT = 10_000
      const clock = moveClock(t)
      const start = Math.ceil(Date.now() / 1000)
      clock.travel((start + openedAt) * 1000)
      const host = new Silence(DAY)
      const hints = Array.from({ length: COUNT }, () => [] as number[])
      for (const own of hints) openSilent(host, claimsOf(start), own)
      for (let at = openedAt; at < 300; at += 0.25) clock.advance(250)
      host.sweep.stop()
      clock.exit()
      t.equal(hints.filter(({ length }) => length !== 1).length, 0, 'each gets one')
      const times = hints.flat().map((at) => at / 1000 - start)
      t.ok(Math.min(...times) >= first && Math.max(...times) <= last, `from ${Math.min(...times)} to ${Math.max(...times)}`)
      const seconds = new Map<number, number>()
      for (const at of times) seconds.set(Math.floor(at), (seconds.get(Math.floor(at)) ?? 0) + 1)
      const even = COUNT / (last - first)
      // Evenly, but for chance: of 44 in a second twice as many are beyond six standard deviations.
      t.ok(Math.max(...seconds.values()) < even * 2, `at most ${Math.max(...seconds.values())} in a second, where ${even} would be even`)
      t.ok(seconds.size > (last - first) * 0.9, `in ${seconds.size} seconds`)
    })
  }

  await t.test('the hint to renew comes once, and spread, though a recheck brings the same claims again and again', async (t) => {
    const COUNT = 2000
    const clock = moveClock(t)
    const now = Math.ceil(Date.now() / 1000)
    clock.travel(now * 1000)
    const host = Object.assign(new Silence(DAY), { grace: 20_000 })
    const claims = { iat: now, exp: now + 300 }
    const identity = { user: claims as never, claims, sub: null, groups: [], source: 'header' as const, expiresAt: claims.exp * 1000 }
    const hints = Array.from({ length: COUNT }, () => [] as number[])
    const connections = hints.map((own) => openSilent(host, claims, own))
    for (let at = 0; at < 310; at++) {
      clock.advance(1000)
      if (at % 5 === 0) for (const connection of connections) connection.become({ ...identity, claims: { ...claims } })
    }
    host.sweep.stop()
    clock.exit()
    t.equal(hints.filter(({ length }) => length !== 1).length, 0, 'each gets one')
    const early = hints.flat().filter((at) => at / 1000 - now < 262.5).length
    t.ok(early > COUNT * 0.4 && early < COUNT * 0.6, `${early} of ${COUNT} in the first half of the time`)
  })

  await t.test('the hint to renew does not come on a connection that cannot use it', async (t) => {
    const clock = moveClock(t)
    const now = Math.ceil(Date.now() / 1000)
    clock.travel(now * 1000)
    const hints: number[] = []
    openSilent(new Silence(DAY), {}, hints)
    openSilent(new Silence(300_000), { iat: now, exp: now + 300 }, hints)
    openSilent(new Silence(200_000), { iat: now, exp: now + 300 }, hints)
    openSilent(new Silence(DAY), { iat: now, exp: now + 300 }, hints, false)
    openSilent(new Silence(DAY), { iat: now, exp: now + 300 }, hints).closeFor('shutdown', 1001)
    openSilent(new Silence(DAY), { iat: now, exp: now + 300 }, hints).onClosing('client')
    openSilent(new Silence(DAY), { iat: now, exp: now + 300 }, hints).onClosed()
    const some: number[] = []
    openSilent(new Silence(301_000), { iat: now, exp: now + 300 }, some)
    for (let at = 0; at < 300; at++) clock.advance(1000)
    clock.exit()
    t.equal(hints.length, 0)
    t.equal(some.length, 1, 'where a renewal gains a second it comes')
  })

  await t.test('the hint to renew comes again for each new token, and not for the old one', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true } })
    const clock = moveClock(t)
    const at = from(Date.now())
    clock.travel(at(1) * 1000)
    const start = at(1)
    const chat = await connect(sign({ sub: 'ann', iat: start, exp: start + 100 }))
    const step = async (seconds: number): Promise<string[]> => {
      for (let i = 0; i < seconds; i++) clock.advance(1000)
      t.ok(await chat.isHeard())
      return chat.received.splice(0).map(plain)
    }
    t.strictSame(await step(50), [])
    t.match(await chat.renewByFrame(sign({ sub: 'ann', iat: start + 50, exp: start + 250 })), { type: 'auth.ok' })
    t.strictSame(await step(150), [], 'nothing at 80 to 95 s, nor before 210 s')
    t.match(await chat.renewByFrame(sign({ sub: 'bob', iat: start + 200, exp: start + 400 })), { type: 'auth.error' })
    t.strictSame(await step(45), ['{"type":"auth.renew"}'], 'a refused one changes nothing')
    t.match(await chat.renewByFrame(sign({ sub: 'ann', iat: start + 245, exp: start + 345 })), { type: 'auth.ok' })
    t.strictSame(await step(79), [])
    t.strictSame(await step(17), ['{"type":"auth.renew"}'])
    t.match(await chat.renewByFrame(sign({ sub: 'ann', iat: start + 341 })), { type: 'auth.ok' })
    t.strictSame(await step(500), [], 'a token that never expires')
    clock.exit()
  })

  await t.test('the hint to renew comes before the token expires, also if the grace is longer than the life of the token', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true, expiryGrace: 60_000 } })
    const clock = moveClock(t)
    const at = from(Date.now())
    clock.travel(at(1) * 1000)
    let expiresIn = 10
    const start = at(1)
    const chat = await connect(sign({ sub: 'ann', iat: start, exp: start + 10 }))
    for (let i = 1; i <= 60; i++) {
      for (let k = 0; k < 4; k++) clock.advance(250)
      t.ok(await chat.isHeard())
      expiresIn--
      if (!chat.received.splice(0).map(plain).includes('{"type":"auth.renew"}')) continue
      t.ok(expiresIn >= 0 && expiresIn <= 2, `a hint ${expiresIn} s before the expiry`)
      t.match(await chat.renewByFrame(sign({ sub: 'ann', iat: start + i, exp: start + i + 10 })), { type: 'auth.ok' })
      expiresIn = 10
    }
    t.ok(chat.connection.expiresAt as number >= (start + 60) * 1000, 'it was renewed all the time')
    // Renewed as late as can be, in the grace, the next hint is in time all the same.
    for (let i = 0; i < 30; i++) clock.advance(1000)
    t.ok(await chat.isHeard())
    chat.received.splice(0)
    t.match(await chat.renewByFrame(sign({ sub: 'ann', iat: start + 90, exp: start + 100 })), { type: 'auth.ok' })
    for (let i = 0; i < 40; i++) clock.advance(250)
    t.ok(await chat.isHeard())
    t.strictSame(chat.received.splice(0).map(plain), ['{"type":"auth.renew"}'])
    clock.exit()
  })

  await t.test('a connection that ends while its hint is sent leaves the sweep', async (t) => {
    const clock = moveClock(t)
    const now = Math.ceil(Date.now() / 1000)
    clock.travel(now * 1000)
    const host = new Silence(DAY)
    const open = (hints: number[] = []): OpenConnection => openSilent(host, { iat: now, exp: now + 100 }, hints)
    for (let i = 0; i < 200; i++) {
      const hints: number[] = []
      const connection = open(hints)
      // As a class of the app could do in its `send`.
      hints.push = (...at) => { connection.onClosing('app'); return at.length }
    }
    for (let at = 0; at < 96; at++) clock.advance(1000)
    t.strictSame(host.ended, new Array(200).fill('app'))
    t.equal(host.sweep.size, 0)
    // The sweep still knows how many of those that it has have ended, and forgets them.
    for (const connection of Array.from({ length: 300 }, () => open())) connection.onClosing('app')
    clock.exit()
    t.ok(host.sweep.size < 150, `${host.sweep.size} are kept`)
  })

  await t.test('the hint to renew keeps no connection alive, whatever iat the token has', async (t) => {
    const clock = moveClock(t)
    const now = Math.ceil(Date.now() / 1000)
    clock.travel(now * 1000)
    const host = new Silence(DAY)
    openSilent(host, { iat: now + 50, exp: now + 3 }, [])
    clock.advance(2900)
    t.strictSame(host.ended, [])
    for (let i = 0; i < 5; i++) clock.advance(250)
    clock.exit()
    t.strictSame(host.ended, ['token_expired'])
  })

  await t.test('the hint to renew comes in time for tokens without iat', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true } })
    const clock = moveClock(t)
    const at = from(Date.now())
    clock.travel(at(1) * 1000)
    const start = at(1)
    const chat = await connect(sign({ sub: 'ann', exp: start + 100 }))
    for (let i = 0; i < 10; i++) clock.advance(1000)
    t.match(await chat.renewByFrame(sign({ sub: 'ann', exp: start + 110 })), { type: 'auth.ok' })
    for (let i = 10; i < 89; i++) clock.advance(1000)
    t.ok(await chat.isHeard())
    t.strictSame(chat.received.splice(0), [], 'not before the last fifth of the life since the renewal')
    for (let i = 89; i < 106; i++) clock.advance(1000)
    t.ok(await chat.isHeard())
    t.strictSame(chat.received.splice(0).map(plain), ['{"type":"auth.renew"}'])
    clock.exit()
  })

  await t.test('the hint to renew comes on real connections only if auth frames are on', async (t) => {
    const settings: Array<[fastifyWsAuth.WsAuthOptions, fastifyWsAuth.RouteWsAuth, number]> = [
      [{ renewal: true }, true, 1],
      [{ token: { message: true } }, true, 0],
      [{}, { renewal: true }, 1],
      [{ renewal: false, token: { message: true } }, true, 0],
      [{}, true, 0],
      [{ renewal: true }, { maxLifetime: 99_000 }, 0],
      [{ renewal: true, expiryGrace: 2000 }, { maxLifetime: 101_000 }, 0]
    ]
    for (const [plugin, wsAuth, count] of settings) {
      const { connect } = await startChat(t, { plugin, wsAuth })
      const clock = moveClock(t)
      const at = from(Date.now())
      const chat = await connect(sign({ sub: 'ann', iat: at(0), exp: at(100) }))
      for (let i = 0; i < 97; i++) clock.advance(1000)
      t.ok(await chat.isHeard())
      t.strictSame(chat.received.map(plain), Array(count).fill('{"type":"auth.renew"}'), JSON.stringify([plugin, wsAuth]))
      clock.exit()
    }
  })
})
