/*
 * Runs an app of which one function after the other throws, in a process of its own, and asserts what has become of its clients.
 */
import { fork } from 'node:child_process'
import type { Test } from 'tap'
import type { Outcome, Point } from './throwing-app'

/** Called only if something goes wrong. */
const UNUSED = new Set<Point>(['logger.debug', 'logger.warn', 'logger.error', 'socket.terminate', 'trustProxy', 'backplane.get'])

/** If it fails, clients cannot be answered. */
const UNSENT = new Set<Point>(['socket.send'])

/** The outcome of each step of the clients if a function fails that decides nothing. */
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
  // On a busy machine the token may have expired before the handshake.
  expiry: /^(?:3000 token_expired|1006|401)$/,
  revoke: /^(?:done|rejected) (?:3000 token_revoked|1006)$/,
  disconnect: /^(?:done|rejected) (?:3003 disconnected|1006)$/
}

interface Report {
  readonly outcomes: Outcome[]
  /** Errors that were not caught, and belong to no run. */
  readonly lost: string[]
}

async function report (t: Test, points: readonly Point[]): Promise<Report> {
  const child = fork(require.resolve('./throwing-app'), ['run', ...points])
  t.teardown(() => child.kill('SIGKILL'))
  return await new Promise<Report>((resolve, reject) => {
    child.once('message', (message) => resolve(message as Report))
    child.once('exit', (code, signal) => reject(new Error(`the process ended with ${code ?? signal}`)))
  })
}

/** Makes each of the points throw, and asserts that no process ends, nothing is held, and no client is admitted that should not be. */
export async function throwAt (t: Test, points: readonly Point[]): Promise<void> {
  const { outcomes, lost } = await report(t, points)
  t.strictSame(lost, [], 'no error is uncaught')
  t.equal(new Set(outcomes.map(({ point }) => point)).size, points.length, 'each point was tried')
  for (const outcome of outcomes) {
    await t.test(`${outcome.point} that throws (${outcome.kind}) ends no process and holds nothing`, async (t) => { assertHarmless(t, outcome) })
  }
}

function assertHarmless (t: Test, { point, role, thrown, uncaught, steps, pending, connections, afterwards, isClosed }: Outcome): void {
  if (!UNUSED.has(point)) t.ok(thrown > 0, 'it was called')
  t.strictSame(uncaught, [], 'no error is uncaught')
  t.equal(pending, 0, 'nothing is pending afterwards')
  t.equal(connections, 0, 'no connection is left')
  t.strictSame(afterwards, ['101', '101', '101', '101'], 'good clients get in, and all slots of a user are free')
  t.equal(isClosed, true, 'the app is closed while it throws')
  t.notMatch(steps['bad handshake'], '101', 'a bad token is not admitted')
  t.notMatch(steps['bad ticket'], '101', 'a bad ticket is not admitted')
  t.notMatch(steps['bad dry run'], '426', 'a dry run does not say that a bad token is admitted')
  t.notMatch(steps['bad first message'], 'auth.ok', 'a bad first message does not authenticate')
  // A frame that the app does not send or accept cannot be waited for.
  if (!UNSENT.has(point)) t.strictSame(Object.entries(steps).filter(([, outcome]) => outcome === 'late').map(([step]) => step), [], 'each client is answered')
  if (role === 'deciding') t.match(steps, { handshake: '503', 'dry run': '503', ticket: /^(?:503|200 503)$/, expiry: /^(?:503|401)$/, revoke: 'done 503', disconnect: 'done 503' }, 'a client that cannot be checked is not admitted')
  if (role === 'telling') t.match(steps, TOLD, 'nothing else changes')
}
