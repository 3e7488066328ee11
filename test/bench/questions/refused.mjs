// @ts-check
/*
 * What does a refused handshake cost?
 */
import { HandshakeRunner } from '../runner.mjs'
import { EVERYTHING, runtimes, socketIo, subject } from '../subject.mjs'
import { cpuQuestion, HANDSHAKE_PLANS } from './cpu.mjs'

const wrong = /** @type {const} */ ({ token: 'wrong' })
const none = /** @type {const} */ ({ token: 'none', carrier: 'none' })

export default cpuQuestion({
  start: HandshakeRunner.start,
  operation: 'refusal',
  plans: HANDSHAKE_PLANS,
  subjects: [
    subject('B', 'hook', wrong),
    subject('B query', 'hookQuery', { ...wrong, carrier: 'query' }),
    subject('ws + jsonwebtoken', 'ws + jsonwebtoken', wrong),
    subject('ws + jsonwebtoken, KeyObject', 'ws + jsonwebtoken, KeyObject', wrong),
    subject('express + ws + express-jwt', 'express + ws + express-jwt', wrong),
    socketIo(wrong),
    ...runtimes(wrong),
    subject('C', 'plugin', wrong),
    subject('C everything', 'plugin', { ...EVERYTHING, ...wrong }),
    subject('C app jwt', 'pluginWithAppJwt', wrong),
    subject('C query', 'plugin', { ...wrong, carrier: 'query' }),
    subject('C ES256', 'plugin', { ...wrong, algorithm: 'ES256' }),
    subject('B no token', 'hook', none),
    subject('C no token', 'plugin', none)
  ],
  comparisons: [
    { of: 'C', to: 'B', max: 0.65 },
    { of: 'C no token', to: 'B no token' },
    { of: 'C app jwt', to: 'B' },
    { of: 'C everything', to: 'C' },
    { of: 'C query', to: 'B query' },
    { of: 'C', to: 'ws + jsonwebtoken' },
    { of: 'C', to: 'ws + jsonwebtoken, KeyObject' },
    { of: 'C', to: 'express + ws + express-jwt' },
    { of: 'C', to: 'socket.io' }
  ]
})
