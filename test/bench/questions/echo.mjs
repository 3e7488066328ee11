// @ts-check
/*
 * What does a message cost that comes, and goes back?
 */
import { EchoRunner } from '../runner.mjs'
import { EVERYTHING, runtimes, socketIo, subject } from '../subject.mjs'
import { cpuQuestion } from './cpu.mjs'

const frames = { options: { renewal: true } }
const json = /** @type {const} */ ({ message: 'json' })

export default cpuQuestion({
  start: EchoRunner.start,
  operation: 'message',
  plans: {
    full: { sittings: 6, rounds: 5, operations: 20_000, warmUp: 60_000 },
    quick: { sittings: 1, rounds: 8, operations: 20_000, warmUp: 60_000 }
  },
  subjects: [
    subject('A', 'none'),
    subject('A again', 'none'),
    subject('ws', 'ws'),
    socketIo(),
    ...runtimes(),
    subject('C', 'plugin'),
    subject('C frames', 'plugin', frames),
    subject('C everything', 'plugin', EVERYTHING),
    subject('A json', 'none', json),
    subject('C json', 'plugin', json),
    subject('C frames json', 'plugin', { ...frames, ...json })
  ],
  comparisons: [
    { of: 'C', to: 'A', max: 1 },
    { of: 'A again', to: 'A' },
    { of: 'C frames', to: 'A' },
    { of: 'C everything', to: 'A' },
    { of: 'C json', to: 'A json', max: 1 },
    { of: 'C frames json', to: 'A json' },
    { of: 'C', to: 'ws' },
    { of: 'C', to: 'socket.io' }
  ]
})
