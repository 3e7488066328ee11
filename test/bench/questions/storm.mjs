// @ts-check
/*
 * What does it cost when all clients are cut off and come back at the same time, with the tokens that they had?
 */
import { StormRunner } from '../runner.mjs'
import { CACHED, EVERYTHING, socketIo, subject } from '../subject.mjs'
import { cpuQuestion } from './cpu.mjs'

/** There is room for all at once; by default a thousand may be pending. */
const OPEN = { options: { limits: { pending: 1e6 } } }
const CACHED_AND_OPEN = { options: { ...OPEN.options, ...CACHED.options } }

export default cpuQuestion({
  start: StormRunner.start,
  operation: 'reconnect',
  plans: {
    full: { sittings: 3, rounds: 3, operations: 5000, warmUp: 5000 },
    quick: { sittings: 1, rounds: 3, operations: 2000, warmUp: 4000 }
  },
  subjects: [
    subject('A', 'none'),
    subject('B', 'hook'),
    subject('ws + jsonwebtoken', 'ws + jsonwebtoken'),
    socketIo(),
    subject('C', 'plugin', OPEN),
    subject('C cached', 'plugin', CACHED_AND_OPEN),
    subject('C everything', 'plugin', EVERYTHING),
    subject('B RS256', 'hook', { algorithm: 'RS256' }),
    subject('C RS256', 'plugin', { ...OPEN, algorithm: 'RS256' }),
    subject('C RS256 cached', 'plugin', { ...CACHED_AND_OPEN, algorithm: 'RS256' })
  ],
  comparisons: [
    { of: 'C', to: 'A', max: 1.15 },
    { of: 'C cached', to: 'A', max: 1.05 },
    { of: 'C RS256 cached', to: 'A', max: 1.1 },
    { of: 'C', to: 'B' },
    { of: 'C everything', to: 'A' },
    { of: 'C RS256 cached', to: 'B RS256' },
    { of: 'C', to: 'ws + jsonwebtoken' },
    { of: 'C', to: 'socket.io' }
  ]
})
