/*
 * The models of `connect()` and `webSocketClass()`, at length: one of two files, which run side by side. `FC_SEED` and `FC_PATH` in the environment repeat a failure, and `CLIENT_PART` is
 * the part of the runs that is played.
 */
import fc from 'fast-check'
import t from 'tap'
import { PART } from '../../helpers/part'
import { playClass } from './class-player'
import { holdsInLab } from './holds'
import { play } from './player'

const tape = fc.uint8Array({ minLength: 10, maxLength: 40, size: 'max' })

t.test(`a socket keeps its promises in ${50_000 * PART} random runs of tokens, servers, networks, pages and apps (2 of 2)`, async (t) => {
  await holdsInLab(fc.asyncProperty(tape, play), 50_000 * PART)
  t.pass('each run kept them')
})

t.test(`an instance of the class for libraries keeps its promises in ${5000 * PART} random runs (2 of 2)`, async (t) => {
  await holdsInLab(fc.asyncProperty(tape, playClass), 5000 * PART)
  t.pass('each run kept them')
})
