// @ts-check
/*
 * What does an idle connection keep?
 */
import { stayAwake, makeHandshakes } from '../load.mjs'
import { measureAfresh } from '../measure.mjs'
import { openConnections } from '../open-load.mjs'
import { figureTable, summarizeFigures, targetLine, targetOf } from '../report.mjs'
import { CONCURRENCY, fail } from '../runner.mjs'
import { createScript } from '../scripts.mjs'
import { CACHED, EVERYTHING, runtimes, scriptOf, socketIo, startChecked, subject } from '../subject.mjs'

/** The most that an idle connection of C may keep, in connections of A. */
const TARGETS = { heap: 0.65, held: 0.85, rss: 0.8 }
/** The most external memory of an idle connection, in KiB. */
const MAX_EXTERNAL = 0.01

/** The token comes with the first message, for which there is time until all has been measured. */
const message = { options: { token: { message: { timeout: 600_000 } }, limits: { pending: 1e6 } } }

/** The handler keeps its request in a closure for as long as the connection lives. */
const HELD = { path: '/held' }

/** @type {import('./index.mjs').Question} */
export default {
  plans: { full: { repetitions: 2, connections: 15_000 }, quick: { repetitions: 1, connections: 5000 } },
  subjects: [
    subject('A', 'none'),
    subject('A held', 'none', HELD),
    subject('A no token', 'none', { carrier: 'none', token: 'none' }),
    subject('B', 'hook'),
    subject('B timer', 'hookAndTimer'),
    subject('ws', 'ws'),
    subject('ws + jsonwebtoken', 'ws + jsonwebtoken'),
    socketIo(),
    ...runtimes(),
    subject('C', 'plugin'),
    subject('C held', 'plugin', HELD),
    subject('C query', 'plugin', { carrier: 'query' }),
    subject('C app jwt', 'pluginWithAppJwt'),
    subject('C cached', 'plugin', CACHED),
    subject('C frames', 'plugin', { options: { renewal: true } }),
    subject('C everything', 'plugin', EVERYTHING),
    subject('C waiting', 'plugin', { ...message, carrier: 'none', token: 'none' }),
    subject('C first message', 'plugin', { ...message, carrier: 'message' })
  ],
  comparisons: [],

  measure: (subjects, setting, { repetitions, connections }, say) =>
    measureAfresh(subjects, repetitions, (one) => measureOnce(one, setting, connections), say),

  summarize (measured) {
    const figures = summarizeFigures(measured)
    const of = (/** @type {string} */ name, /** @type {string} */ figure) => figures[name]?.[figure]?.median ?? NaN
    const targets = [
      targetOf('heap of C / heap of A', of('C', 'heap') / of('A', 'heap'), TARGETS.heap),
      targetOf('heap of C held / heap of A held', of('C held', 'heap') / of('A held', 'heap'), TARGETS.held),
      targetOf('rss of C / rss of A', of('C', 'rss') / of('A', 'rss'), TARGETS.rss),
      targetOf('external memory of C, KiB', of('C', 'external'), MAX_EXTERNAL)
    ]
    return { figures, targets }
  },

  table: ({ figures, targets }) => figureTable('KiB per idle connection', [
    { head: 'heap', figure: 'heap', digits: 2 },
    { head: 'external', figure: 'external', digits: 2 },
    { head: 'rss', figure: 'rss', digits: 1 }
  ], figures) + targets.map(targetLine).join('')
}

/**
 * The code is compiled and its caches are filled by a few handshakes before; they are gone when it begins.
 *
 * @param {import('../subject.mjs').Subject} what
 * @param {import('../subject.mjs').Setting} setting
 * @param {number} connections
 */
async function measureOnce (what, setting, connections) {
  const started = await startChecked(what, setting)
  const { server } = started
  const stop = stayAwake()
  try {
    const scripts = Array.from({ length: connections }, (_, i) => isWaiting(what) ? createScript({ carrier: 'none', isAccepted: true }, '') : scriptOf(started, `user-${i}`))
    await server.ask('begin')
    await makeHandshakes({ port: server.port, scripts: scripts.slice(0, 1), count: 1000, concurrency: CONCURRENCY })
    await server.ask('end')
    const before = await server.ask('memory')
    const sockets = await openConnections({ port: server.port, scripts, concurrency: CONCURRENCY })
    const after = await server.ask('memory')
    for (const socket of sockets) socket.destroy()
    if (after.connections !== connections) fail(`${what.name} has ${after.connections} connections, not ${connections}`)
    const perConnection = (/** @type {string} */ figure) => (after[figure] - before[figure]) / connections / 1024
    return { heap: perConnection('heapUsed'), external: perConnection('external'), rss: perConnection('rss') }
  } finally {
    stop()
    await server.stop()
  }
}

/** Of whom nobody asks a token, or not yet. */
function isWaiting ({ token }) {
  return token === 'none'
}
