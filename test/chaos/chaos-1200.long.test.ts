/*
 * Some thousand clients that authenticate, renew, stall, lie and leave wherever they like. CHAOS_SEED=<the number of a failure> draws the
 * same again.
 */
import t from 'tap'
import { assertNothingIsLeft } from '../helpers/chaos/clients'
import { SEED } from '../helpers/chaos/dice'

for (const [i, onLimit] of (['reject', 'close-oldest'] as const).entries()) {
  t.test(`1200 clients leave nothing behind, with '${onLimit}' and CHAOS_SEED=${SEED}`, async (t) => {
    const { renewed, refused } = await assertNothingIsLeft(t, { clients: 1200, onLimit, seed: SEED + i, isPolite: false })
    t.ok(renewed > 0, 'some renewed')
    for (const code of ['WS_AUTH_TOKEN_INVALID', 'WS_AUTH_TOKEN_EXPIRED', 'WS_AUTH_TIMEOUT', 'WS_AUTH_UNAVAILABLE', 'WS_AUTH_ORIGIN_FORBIDDEN'] as const) {
      t.ok((refused[code] ?? 0) > 0, `some were refused with ${code}`)
    }
  })
}
