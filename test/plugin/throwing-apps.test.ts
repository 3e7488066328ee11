/*
 * A function of each role throws, in one process. That of all functions is in the long test beside this one.
 */
import t from 'tap'
import { throwAt } from '../helpers/throwing-run'

t.test('a function of the app that decides, that is told, or that only takes part ends no process and holds nothing if it throws', async (t) => {
  await throwAt(t, ['authorize', 'logger.info', 'onSend after'])
})
