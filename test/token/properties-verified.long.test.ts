/*
 * Claims come from what was verified, in many drawn requests.
 * FC_RUNS=20 tries twenty times as many; FC_SEED and FC_PATH repeat a failure.
 */
import t from 'tap'
import { assertVerified } from '../helpers/verified-samples'

t.test('an admitted client is the user that the verified token names, and a forged token admits no client, in 500 drawn requests', async (t) => {
  await assertVerified(t, 500)
})
