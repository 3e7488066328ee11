/*
 * Nothing of ours ends the process: each function of the app is made to throw or to reject, one at a time, while clients connect, ask,
 * renew, expire and are closed. Afterwards a good client gets in, nothing is held, and the app can be closed.
 */
import { fork } from 'node:child_process'
import t from 'tap'
import { within } from '../helpers/app'
import { POINTS } from '../helpers/throwing-app'
import type { Outcome, Point } from '../helpers/throwing-app'

const TIMEOUT = 150_000

/** Not called where nothing goes wrong. */
const UNUSED = new Set<Point>(['logger.debug', 'logger.warn', 'logger.error', 'socket.terminate', 'trustProxy', 'backplane.get'])

/** What keeps clients from being answered by itself. */
const UNSENT = new Set<Point>(['socket.send'])

/** What clients come to where only somebody fails who is told, or asked beside. */
const TOLD = {
  handshake: '101',
  'bad handshake': '401',
  'dry run': '426',
  'bad dry run': '401',
  'accept and close': '3000 token_invalid',
  'first message': /auth\.ok/,
  'bad first message': '3000',
  renewal: /auth\.ok/,
  'bad renewal': /auth\.error.*TOKEN_INVALID/,
  'renewal without a token': /auth\.error.*TOKEN_INVALID/,
  'renewal by the app': 'renewed',
  // On a machine that is busy it may have expired before.
  expiry: /^(?:3000 token_expired|1006|401)$/,
  revoke: /^(?:done|rejected) (?:3000 token_revoked|1006)$/,
  disconnect: /^(?:done|rejected) (?:3003 disconnected|1006)$/
}

interface Report {
  readonly outcomes: Outcome[]
  /** What was not caught, and by nobody knows whom. */
  readonly lost: string[]
}

async function report (): Promise<Report> {
  const child = fork(require.resolve('../helpers/throwing-app'), ['run'])
  t.teardown(() => child.kill('SIGKILL'))
  return await within(TIMEOUT, 'the run', new Promise<Report>((resolve, reject) => {
    child.once('message', (message) => resolve(message as Report))
    child.once('exit', (code, signal) => reject(new Error(`the process ended with ${code ?? signal}`)))
  }))
}

t.test('a function of the app that throws', { timeout: TIMEOUT + 30_000 }, async (t) => {
  const { outcomes, lost } = await report()
  t.strictSame(lost, [], 'nothing is uncaught')
  t.equal(new Set(outcomes.map(({ point }) => point)).size, POINTS.length, 'each was tried')
  for (const { point, kind, role, thrown, uncaught, steps, pending, connections, afterwards, isClosed } of outcomes) {
    await t.test(`${point} that throws (${kind}) ends no process and holds nothing`, async (t) => {
      if (!UNUSED.has(point)) t.ok(thrown > 0, 'it was called')
      t.strictSame(uncaught, [], 'nothing is uncaught')
      t.equal(pending, 0, 'nothing is pending afterwards')
      t.equal(connections, 0, 'no connection is left')
      t.strictSame(afterwards, ['101', '101', '101', '101'], 'good clients get in, and all slots of a user are free')
      t.equal(isClosed, true, 'the app is closed while it throws')
      t.notMatch(steps['bad handshake'], '101', 'a bad token is not admitted')
      t.notMatch(steps['bad ticket'], '101', 'a bad ticket is not admitted')
      t.notMatch(steps['bad dry run'], '426', 'a dry run does not say that a bad token is admitted')
      t.notMatch(steps['bad first message'], 'auth.ok', 'a bad first message does not authenticate')
      // What the app does not send or accept cannot be waited for.
      if (!UNSENT.has(point)) t.strictSame(Object.entries(steps).filter(([, outcome]) => outcome === 'late').map(([step]) => step), [], 'each client is answered')
      if (role === 'deciding') t.match(steps, { handshake: '503', 'dry run': '503', ticket: /^(?:503|200 503)$/, expiry: /^(?:503|401)$/, revoke: 'done 503', disconnect: 'done 503' }, 'whoever cannot be checked is not admitted')
      if (role === 'telling') t.match(steps, TOLD, 'nothing else changes')
    })
  }
})
