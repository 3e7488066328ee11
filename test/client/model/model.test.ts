/*
 * The models of `connect()` and `webSocketClass()`, briefly. `FC_SEED` and `FC_PATH` in the environment repeat a failure.
 */
import fc from 'fast-check'
import t from 'tap'
import { playClass } from './class-player'
import { holdsInLab } from './holds'
import { play } from './player'

const tape = fc.uint8Array({ minLength: 10, maxLength: 40, size: 'max' })

t.test('whatever token functions, servers, networks, pages and apps do, a socket keeps its promises in 2000 random runs', async (t) => {
  await holdsInLab(fc.asyncProperty(tape, play), 2000)
  t.pass('each run kept them')
})

t.test('an instance of the class for libraries keeps its promises in 500 random runs', async (t) => {
  await holdsInLab(fc.asyncProperty(tape, playClass), 500)
  t.pass('each run kept them')
})
