/*
 * The package never ends the process: each function of the app is made to throw or to reject, one at a time, while clients connect, ask,
 * renew, expire and are closed. Afterwards a good client gets in, nothing is held, and the app can be closed.
 */
import t from 'tap'
import { POINTS } from '../helpers/throwing-app'
import { throwAt } from '../helpers/throwing-run'

t.test('a function of the app that throws does not end the process or hold a place, whichever it is', async (t) => {
  await throwAt(t, POINTS)
})
