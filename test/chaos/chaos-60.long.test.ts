/*
 * Some clients that authenticate, renew, stall, lie and leave wherever they like. CHAOS_SEED=<the number of a failure> draws the same again.
 */
import t from 'tap'
import { assertNothingIsLeft } from '../helpers/chaos/clients'
import { SEED } from '../helpers/chaos/dice'

for (const [i, onLimit] of (['reject', 'close-oldest'] as const).entries()) {
  t.test(`nothing is left of 60 clients, with '${onLimit}' and CHAOS_SEED=${SEED}`, async (t) => {
    await assertNothingIsLeft(t, { clients: 60, onLimit, seed: SEED + i, isPolite: true })
  })
}
