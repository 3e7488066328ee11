// @ts-check
/*
 * What does an accepted handshake cost, of each algorithm and from each place that a token may be in?
 */
import { HandshakeRunner } from '../runner.mjs'
import { CACHED, EVERYTHING, runtimes, socketIo, subject } from '../subject.mjs'
import { cpuQuestion, HANDSHAKE_PLANS } from './cpu.mjs'

const SLOW = /** @type {const} */ (['RS256', 'ES256', 'EdDSA'])

export default cpuQuestion({
  start: HandshakeRunner.start,
  operation: 'handshake',
  plans: HANDSHAKE_PLANS,
  subjects: [
    subject('A', 'none'),
    subject('B', 'hook'),
    subject('B query', 'hookQuery', { carrier: 'query' }),
    subject('V', 'verifyOnly'),
    subject('ws', 'ws'),
    subject('ws + jsonwebtoken', 'ws + jsonwebtoken'),
    subject('ws + jsonwebtoken, KeyObject', 'ws + jsonwebtoken, KeyObject'),
    subject('express + ws + express-jwt', 'express + ws + express-jwt'),
    socketIo(),
    ...runtimes(),
    subject('C', 'plugin'),
    subject('C cached', 'plugin', CACHED),
    subject('C everything', 'plugin', EVERYTHING),
    subject('C app jwt', 'pluginWithAppJwt'),
    subject('C query', 'plugin', { carrier: 'query' }),
    subject('C subprotocol', 'plugin', { carrier: 'subprotocol' }),
    subject('C cookie', 'plugin', { carrier: 'cookie' }),
    subject('C param', 'plugin', { carrier: 'param', options: { token: { param: true } } }),
    subject('C ticket', 'plugin', { carrier: 'ticket', options: { tickets: true } }),
    subject('C first message', 'plugin', { carrier: 'message', options: { token: { message: true } } }),
    ...SLOW.flatMap((algorithm) => [
      subject(`B ${algorithm}`, 'hook', { algorithm }),
      subject(`C ${algorithm}`, 'plugin', { algorithm }),
      subject(`C ${algorithm} cached`, 'plugin', { algorithm, ...CACHED })
    ])
  ],
  comparisons: [
    { of: 'C', to: 'A', max: 1.2 },
    { of: 'C', to: 'B', max: 0.95 },
    { of: 'C', to: 'ws + jsonwebtoken', max: 0.4 },
    { of: 'C', to: 'socket.io', max: 0.35 },
    ...SLOW.map((algorithm) => ({ of: `C ${algorithm} cached`, to: 'A', max: 1.08 })),
    { of: 'B', to: 'A' },
    { of: 'V', to: 'A' },
    { of: 'C', to: 'V' },
    { of: 'C cached', to: 'A' },
    { of: 'C', to: 'ws + jsonwebtoken, KeyObject' },
    { of: 'C', to: 'express + ws + express-jwt' },
    { of: 'C query', to: 'B query' },
    ...['everything', 'app jwt', 'query', 'subprotocol', 'cookie', 'param', 'ticket', 'first message'].map((of) => ({ of: `C ${of}`, to: 'C' })),
    ...SLOW.map((algorithm) => ({ of: `C ${algorithm}`, to: `B ${algorithm}` }))
  ]
})
