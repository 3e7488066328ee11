/*
 * A function of each role throws, in one process. That of all functions is in the long test beside this one.
 */
import t from 'tap'
import { throwAt } from '../helpers/throwing-run'

t.test('a throwing authorize, logger or onSend hook does not end the process or hold a place', async (t) => {
  await throwAt(t, ['authorize', 'logger.info', 'onSend after'])
})
