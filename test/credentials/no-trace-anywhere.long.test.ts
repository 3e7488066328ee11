/*
 * Each kind of token in each source, and each error of the app, leaves no trace, with each way to refuse and with and without error
 * handlers of the app.
 */
import t from 'tap'
import { assertNoTraceOfErrors } from '../helpers/leaky-errors'
import { assertNoTrace, TOKENS } from '../helpers/spied-app'

for (const isCustom of [false, true]) {
  for (const rejectWith of ['http', 'close'] as const) {
    const ways = `with rejectWith '${rejectWith}'${isCustom ? ' and the app\'s own error handlers' : ''}`
    for (const kind of Object.keys(TOKENS)) {
      for (const isSigned of [false, true]) {
        t.test(`${kind} leaves no trace ${isSigned ? 'in a signed cookie' : 'in any other source'}, ${ways}`, async (t) => {
          await assertNoTrace(t, kind, { isCustom, rejectWith, isSigned })
        })
      }
    }
    t.test(`an error of the app takes no token with it, ${ways}`, async (t) => { await assertNoTraceOfErrors(t, isCustom, rejectWith) })
  }
}
