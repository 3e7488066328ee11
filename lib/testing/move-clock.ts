/*
 * Lets time go by for all apps of this process, without waiting for it.
 */
import type { FastifyInstance } from 'fastify'
import { assertNoMore, readArgument } from '../base/checks'
import { OpenConnection } from '../connection/open-connection'
import { runningApps } from '../plugin/running-apps'
import { clockOffset, setClockOffset } from './clock'
import { clientHasRead, patiently } from './patience'

/** How {@link moveClock} moves the clock. */
export interface MoveClockOptions {
  /** `true`: at once, as if the machine had slept, so that no client can renew. Default `false` */
  readonly jump?: boolean
}

/** A clock that was moved. */
export interface MovedClock {
  /** Sets the clock back: {@link restoreClock}. */
  restore (): void
  [Symbol.dispose] (): void
}

/**
 * Sets the clock of this process forward. The connections, hints, first messages, tickets, revocations and tokens of all of its apps follow:
 * when this resolves, everything that is due has happened, and its frames are sent. On the way the clock stops wherever something is due. A
 * client that is asked to renew gets up to half a second of real time for it.
 *
 * What does not move: timers of the app and of clients, the heartbeat, deadlines of handshakes and of verifications, other processes, the clock of Redis.
 *
 * @param ms how far, in milliseconds
 * @throws TypeError for a negative time, because {@link restoreClock} sets the clock back, and for wrong options
 */
export async function moveClock (ms: number, options: MoveClockOptions = {}): Promise<MovedClock> {
  const { jump = false, ...rest } = readArgument('options', options) as MoveClockOptions
  assertNoMore('options', rest, ['jump'])
  if (!Number.isSafeInteger(ms) || ms < 0) throw new TypeError('"ms" must be a number of milliseconds that is an integer and not negative: restoreClock() sets the clock back')
  const target = clockOffset() + ms
  if (!jump) await stopOnTheWay(target)
  setClockOffset(target)
  await wakeDue()
  return { restore: restoreClock, [Symbol.dispose]: restoreClock }
}

/** Sets the clock of this process back to that of the system. For the end of a test, once its apps are closed. */
export function restoreClock (): void {
  setClockOffset(0)
}

/** Moves the clock to each instant at which something is due, before it comes to the target. */
async function stopOnTheWay (target: number): Promise<void> {
  for (let next = offsetOfNext(); next <= target; next = offsetOfNext()) {
    setClockOffset(Math.max(next, clockOffset()))
    await wakeDue()
  }
}

/** The offset at which the next connection or first message is due; `Infinity` for none. */
function offsetOfNext (): number {
  let next = Infinity
  for (const { parts: { lifecycle, waitingRoom } } of runningApps()) next = Math.min(next, lifecycle.sweep.nextAt, waitingRoom.nextAt)
  return next - Date.now() + clockOffset()
}

/** Wakes what is due, and lets clients renew that were asked to. */
async function wakeDue (): Promise<void> {
  const asked: Array<Promise<void>> = []
  for (const { app, parts: { lifecycle, waitingRoom } } of runningApps()) {
    waitingRoom.endDue()
    for (const sleeper of lifecycle.sweep.takeDue()) {
      sleeper.wake()
      if (sleeper instanceof OpenConnection && mayRenew(sleeper)) asked.push(renewal(app, sleeper))
    }
  }
  await Promise.all(asked)
  // What was sent is written in this turn.
  await new Promise((resolve) => setImmediate(resolve))
}

/** Whether a connection is in the last fifth of its token's life, in which the hint to renew is sent. */
function mayRenew ({ isEnded, expiresAt, claims, openedAt }: OpenConnection): boolean {
  if (isEnded || expiresAt === null) return false
  const left = expiresAt - Date.now()
  const issuedAt = claims?.iat === undefined ? openedAt : claims.iat * 1000
  return left > 0 && left <= (expiresAt - issuedAt) / 5
}

/** Waits for a renewal, and for the client to read its answer: a hint that comes with that answer would be no news to it. */
async function renewal (app: FastifyInstance, connection: OpenConnection): Promise<void> {
  const { expiresAt } = connection
  const hasRenewed = await patiently(() => connection.isEnded || connection.expiresAt !== expiresAt)
  if (hasRenewed && !connection.isEnded) await clientHasRead(app, connection)
}
