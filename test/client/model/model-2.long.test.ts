/*
 * The model of `connect()`, at length: one of two files, which run side by side. `FC_SEED` and `FC_PATH` in the environment repeat a failure.
 */
import fc from 'fast-check'
import t from 'tap'
import { holdsAsync } from '../../helpers/arbitraries'
import { play } from './player'

t.test('a socket keeps its promises in 50,000 random runs of tokens, servers, networks, pages and apps (2 of 2)', async (t) => {
  await holdsAsync(fc.asyncProperty(fc.uint8Array({ minLength: 10, maxLength: 60, size: 'max' }), play), 50_000)
  t.pass('each run kept them')
})
