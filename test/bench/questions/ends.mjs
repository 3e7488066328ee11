// @ts-check
/*
 * What happens when ten thousand connections end at once: because their tokens expire in one second, or because somebody
 * disconnects their users?
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { stayAwake, makeHandshakes } from '../load.mjs'
import { measureAfresh } from '../measure.mjs'
import { awaitGoodbyes, openConnections, startTalking } from '../open-load.mjs'
import { figureTable, ours, summarizeFigures, targetLine, targetOf } from '../report.mjs'
import { CONCURRENCY, fail } from '../runner.mjs'
import { createScript } from '../scripts.mjs'
import { scriptOf, startChecked, subject } from '../subject.mjs'

/** @typedef {import('../subject.mjs').Subject & { by: 'expiry' | 'disconnect', users?: 'one' | 'many', isTalking?: boolean }} EndSubject */

/** The latest that a connection may be told that its token has expired, in milliseconds. */
const MAX_LATE = 1000
/** Connections that talk beside those that expire, and every how many milliseconds one of them says something. */
const TALKERS = 5
const TALK_INTERVAL = 20
/** Handshakes before, which also tell how long it will take to open the connections. */
const WARM_UP = 1000
const ONE = 'the one'

/** @returns {EndSubject} */
function ending (name, guard, given) {
  return { by: 'expiry', ...subject(name, guard), ...given }
}

/** @type {import('./index.mjs').Question<EndSubject>} */
export default {
  plans: { full: { repetitions: 2, connections: 10_000 }, quick: { repetitions: 1, connections: 10_000 } },
  subjects: [
    ending('B timer, expiry', 'hookAndTimer', {}),
    ending('B timer, expiry, talking', 'hookAndTimer', { isTalking: true }),
    ending('C, expiry', 'plugin', {}),
    ending('C, expiry, talking', 'plugin', { isTalking: true }),
    ending('B map, one user', 'hookAndMap', { by: 'disconnect', users: 'one' }),
    ending('C, one user', 'plugin', { by: 'disconnect', users: 'one' }),
    ending('B map, each by itself', 'hookAndMap', { by: 'disconnect', users: 'many' }),
    ending('C, each by itself', 'plugin', { by: 'disconnect', users: 'many' })
  ],
  comparisons: [],

  measure: (subjects, setting, { repetitions, connections }, say) => measureAfresh(subjects, repetitions,
    (one) => one.by === 'expiry' ? expire(one, setting, connections) : disconnect(one, setting, connections), say),

  summarize (measured) {
    const figures = summarizeFigures(measured)
    const worst = Math.max(...ours(figures).map((one) => one.lastTold?.median ?? 0))
    return { figures, targets: [targetOf('C, last told of its expiry, ms', worst, MAX_LATE)] }
  },

  table: ({ figures, targets }) => figureTable('ms after expiry, or the call', [
    { head: 'first told', figure: 'firstTold', digits: 0 },
    { head: 'last told', figure: 'lastTold', digits: 0 },
    { head: 'last gone', figure: 'lastGone', digits: 0 },
    { head: 'call returned', figure: 'returned', digits: 0 },
    { head: 'CPU us each', figure: 'cpu', digits: 1 },
    { head: 'longest block, ms', figure: 'longestBlock', digits: 0 },
    { head: 'slowest echo, ms', figure: 'slowestEcho', digits: 0 }
  ], figures) + targets.map(targetLine).join('')
}

/** @param {EndSubject} what @param {import('../subject.mjs').Setting} setting @param {number} connections */
async function expire (what, setting, connections) {
  const started = await startChecked(what, setting)
  const { server, token } = started
  const load = { port: server.port, concurrency: CONCURRENCY }
  const stop = stayAwake()
  try {
    const startedAt = Date.now()
    const echo = scriptOf(started, undefined, '/echo')
    await makeHandshakes({ ...load, scripts: [echo], count: WARM_UP })
    // Three times as long as it took for those, for a machine that is busy meanwhile.
    const lead = 3000 + 3 * (Date.now() - startedAt) * connections / WARM_UP
    const expiresAt = Math.ceil((Date.now() + lead) / 1000) * 1000
    const scripts = Array.from({ length: connections }, (_, i) => createScript({ carrier: what.carrier, isAccepted: true }, token(`user-${i}`, expiresAt / 1000)))
    const talkers = await openConnections({ ...load, scripts: what.isTalking === true ? Array(TALKERS).fill(echo) : [] })
    const goodbyes = awaitGoodbyes(await openConnections({ ...load, scripts }), 3000)
    if (Date.now() > expiresAt - 1000) fail('opening took too long: they expire already')

    await sleep(expiresAt - 500 - Date.now())
    const stopTalking = talkers.length > 0 ? startTalking(talkers, TALK_INTERVAL) : () => []
    const [{ first, last }, { user, system, lastAt, longestBlock }] = await Promise.all([
      goodbyes, server.ask('expire', { left: talkers.length })
    ])
    const echoes = stopTalking()
    // A timer may fire a millisecond early; ours is not one.
    if (first < expiresAt && what.guard === 'plugin') fail(`one was closed ${expiresAt - first} ms before its token expired`)
    for (const socket of talkers) socket.destroy()
    return {
      firstTold: first - expiresAt,
      lastTold: last - expiresAt,
      lastGone: lastAt - expiresAt,
      returned: NaN,
      cpu: (user + system) / connections,
      longestBlock,
      slowestEcho: Math.max(...echoes)
    }
  } finally {
    stop()
    await server.stop()
  }
}

/** @param {EndSubject} what @param {import('../subject.mjs').Setting} setting @param {number} connections */
async function disconnect (what, setting, connections) {
  const started = await startChecked(what, setting)
  const { server } = started
  const load = { port: server.port, concurrency: CONCURRENCY }
  const path = what.guard === 'hookAndMap' ? '/kept' : '/chat'
  const stop = stayAwake()
  try {
    const scripts = Array.from({ length: connections }, (_, i) => scriptOf(started, what.users === 'one' ? ONE : `user-${i}`, path))
    await makeHandshakes({ ...load, scripts, count: WARM_UP })
    const goodbyes = awaitGoodbyes(await openConnections({ ...load, scripts }), 3003)
    const subs = what.users === 'one' ? [ONE] : scripts.map((_, i) => `user-${i}`)
    const startedAt = Date.now()
    const [{ first, last }, { user, system, returned, gone, longestBlock }] = await Promise.all([
      goodbyes, server.ask('disconnect', { subs, left: 0, isOneByOne: false })
    ])
    return {
      firstTold: first - startedAt,
      lastTold: last - startedAt,
      lastGone: gone,
      returned,
      cpu: (user + system) / connections,
      longestBlock,
      slowestEcho: NaN
    }
  } finally {
    stop()
    await server.stop()
  }
}
