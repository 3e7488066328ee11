// @ts-check
/*
 * Does an operation cost more the more connections there are?
 */
import { stayAwake } from '../load.mjs'
import { measureAfresh } from '../measure.mjs'
import { awaitGoodbyes, openConnections } from '../open-load.mjs'
import { figureTable, summarizeFigures, targetLine, targetOf } from '../report.mjs'
import { CONCURRENCY, EchoRunner, HandshakeRunner } from '../runner.mjs'
import { spreadOf } from '../statistics.mjs'
import { scriptOf, startChecked, subject } from '../subject.mjs'

/** A handshake may cost so much more with all connections than with the fewest. */
const MAX_GROWTH = 1.15
/** An echo may cost so much more, beyond what it grows for A, whose sockets are the same. */
const MAX_ECHO_GROWTH = 1.1
const WARM_UP = 6000
const HANDSHAKES = 2000
const ECHOES = 20_000
/** Users who are disconnected, one after the other. */
const DISCONNECTED = 200
/** How often handshakes and echoes are measured with as many connections; the median counts. */
const TIMES = 5

/** @type {import('./index.mjs').Question} */
export default {
  plans: { full: { repetitions: 2, levels: [1000, 5000, 15_000] }, quick: { repetitions: 1, levels: [1000, 15_000] } },
  subjects: [
    subject('A', 'none'),
    subject('B map', 'hookAndMap'),
    subject('C', 'plugin'),
    subject('C frames', 'plugin', { options: { renewal: true } })
  ],
  comparisons: [],

  measure: (subjects, setting, { repetitions, levels }, say) =>
    measureAfresh(subjects, repetitions, (one) => measureOnce(one, setting, /** @type {number[]} */ (levels)), say),

  summarize (measured) {
    const figures = summarizeFigures(measured)
    const growth = (name, operation) => figures[name]?.[`${operation} x`]?.median ?? NaN
    return {
      figures,
      targets: [
        targetOf('growth of C, accepted', growth('C', 'accepted'), MAX_GROWTH),
        targetOf('growth of C / growth of A, echo', growth('C', 'echo') / growth('A', 'echo'), MAX_ECHO_GROWTH)
      ]
    }
  },

  table: ({ figures, targets }) => figureTable('CPU us, by connections',
    [...new Set(Object.values(figures).flatMap((one) => Object.keys(one)))].map((figure) => ({ head: figure, figure, digits: 2 })),
    figures) + targets.map(targetLine).join('')
}

/** @param {import('../subject.mjs').Subject} what @param {import('../subject.mjs').Setting} setting @param {number[]} levels */
async function measureOnce (what, setting, levels) {
  const started = await startChecked(what, setting)
  const { server } = started
  const handshakes = new HandshakeRunner(started)
  /** @type {Record<string, number>} */
  const figures = {}
  const stop = stayAwake()
  try {
    await handshakes.warmUp(WARM_UP)
    const talkers = await EchoRunner.on(started)
    await talkers.run(ECHOES)
    let open = talkers.sockets.length
    let users = 0
    for (const level of levels) {
      // No name comes twice: each who is disconnected has one connection.
      const subs = Array.from({ length: level - open }, () => `resident-${++users}`)
      const scripts = subs.map((sub) => scriptOf(started, sub, pathOf(what)))
      const sockets = await openConnections({ port: server.port, scripts, concurrency: CONCURRENCY })
      open += sockets.length
      figures[`accepted ${level}`] = await medianOf(() => costOf(server, HANDSHAKES, open, () => handshakes.run(HANDSHAKES)))
      figures[`echo ${level}`] = await medianOf(() => costOf(server, ECHOES, open, () => talkers.run(ECHOES)))
      if (what.guard === 'none') continue
      const goodbyes = awaitGoodbyes(sockets.slice(-DISCONNECTED), 3003)
      open -= DISCONNECTED
      const [{ user, system }] = await Promise.all([server.ask('disconnect', { subs: subs.slice(-DISCONNECTED), left: open, isOneByOne: true }), goodbyes])
      figures[`disconnect ${level}`] = (user + system) / DISCONNECTED
    }
    const [least, most] = [levels[0], levels.at(-1)]
    for (const operation of ['accepted', 'echo', 'disconnect']) {
      figures[`${operation} x`] = (figures[`${operation} ${most}`] ?? NaN) / (figures[`${operation} ${least}`] ?? NaN)
    }
    return figures
  } finally {
    stop()
    await server.stop()
  }
}

function pathOf ({ guard }) {
  return guard === 'hookAndMap' ? '/kept' : '/chat'
}

/** Microseconds of the server for each, once no more than those that stay are open. */
async function costOf (server, count, stay, run) {
  await server.ask('begin')
  await run()
  const { user, system } = await server.ask('settle', { count: stay })
  return (user + system) / count
}

async function medianOf (measure) {
  const values = []
  for (let i = 0; i < TIMES; i++) values.push(await measure())
  return spreadOf(values).median
}
