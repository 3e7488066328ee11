/*
 * Nothing of ours ends the process: each function of the app is made to throw or to reject, one at a time, while clients connect, ask,
 * renew, expire and are closed. Afterwards a good client gets in, nothing is held, and the app can be closed.
 */
import { fork } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { within } from './helpers/app'
import { POINTS } from './helpers/throwing-app'
import type { Outcome } from './helpers/throwing-app'

const TIMEOUT = 150_000

interface Report {
  readonly outcomes: Outcome[]
  /** What was not caught, and by nobody knows whom. */
  readonly lost: string[]
}

async function report (): Promise<Report> {
  const child = fork(join(__dirname, 'helpers', 'throwing-app.ts'), ['run'])
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
      t.ok(thrown > 0, 'it was called')
      t.strictSame(uncaught, [], 'nothing is uncaught')
      t.equal(pending, 0, 'nothing is pending afterwards')
      t.equal(connections, 0, 'no connection is left')
      t.strictSame(afterwards, ['101', '101', '101', '101'], 'good clients get in, and all slots of a user are free')
      t.equal(isClosed, true, 'the app is closed while it throws')
      t.strictSame(Object.entries(steps).filter(([, outcome]) => outcome === 'late').map(([step]) => step), [], 'each client is answered')
      if (role === 'deciding') t.match(steps, { handshake: '503', 'dry run': '503', ticket: /^(?:503|200 503)$/ }, 'whoever cannot be checked is not admitted')
      if (role === 'telling') {
        t.match(steps, { handshake: '101', 'dry run': '426', 'bad dry run': '401', renewal: /auth\.ok/, 'bad renewal': /auth\.error.*TOKEN_INVALID/, expiry: /^(?:3000 token_expired|1006)$/ }, 'nothing else changes')
      }
    })
  }
})
