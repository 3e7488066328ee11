/*
 * The model of `connect()`, briefly. `FC_SEED` and `FC_PATH` in the environment repeat a failure.
 */
import fc from 'fast-check'
import t from 'tap'
import { holdsAsync } from '../../helpers/arbitraries'
import { play } from './player'

t.test('whatever token functions, servers, networks, pages and apps do, a socket keeps its promises in 2000 random runs', async (t) => {
  await holdsAsync(fc.asyncProperty(fc.uint8Array({ minLength: 10, maxLength: 60, size: 'max' }), play), 2000)
  t.pass('each run kept them')
})
