// @ts-check
/*
 * Does an operation cost more the more connections there are?
 */
import { CrowdedServer } from '../crowd/crowded-server.mjs'
import { measureAfresh } from '../measure.mjs'
import { figureTable, summarizeFigures, targetLine, targetOf } from '../report.mjs'
import { shuffled } from '../statistics.mjs'
import { startChecked, subject } from '../subject.mjs'

/** A handshake may cost so much more with all connections than with the fewest. */
const MAX_GROWTH = 1.15
/** An echo may cost so much more, beyond what it grows for A, whose sockets are the same. */
const MAX_ECHO_GROWTH = 1.1
/** Rounds that do not count, once all connections are open. */
const WARM_UP_ROUNDS = 2

const OPERATIONS = /** @type {const} */ (['accepted', 'echo', 'disconnect'])

/** @type {import('./index.mjs').Question} */
export default {
  plans: {
    full: { repetitions: 2, rounds: 6, levels: [1000, 5000, 15_000] },
    quick: { repetitions: 1, rounds: 6, levels: [1000, 15_000] }
  },
  subjects: [
    subject('A', 'none'),
    subject('B map', 'hookAndMap', { path: '/kept' }),
    subject('C', 'plugin'),
    subject('C frames', 'plugin', { options: { renewal: true } })
  ],
  comparisons: [],

  async measure (subjects, setting, plan, say) {
    const repetitions = await measureAfresh(subjects, plan.repetitions, (one) => measureOnce(one, setting, /** @type {any} */ (plan)), say)
    return Object.fromEntries(Object.entries(repetitions).map(([name, rounds]) => [name, rounds.flat()]))
  },

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

  table: ({ figures, targets }) => OPERATIONS.map((operation) => operationTable(operation, figures)).join('\n\n') + '\n' + targets.map(targetLine).join('')
}

/** @param {string} operation @param {Record<string, Record<string, import('../statistics.mjs').Spread>>} figures */
function operationTable (operation, figures) {
  const asked = new Set(Object.values(figures).flatMap((one) => Object.keys(one)).filter((figure) => figure.startsWith(`${operation} `)))
  return figureTable('CPU us, by connections', [...asked].map((figure) => ({ head: figure, figure, digits: 2 })), figures)
}

/**
 * A server for each level, all of the same code, measured in turn: whatever slows the machine slows all of them.
 *
 * @param {import('../subject.mjs').Subject} what
 * @param {import('../subject.mjs').Setting} setting
 * @param {{ levels: number[], rounds: number }} plan
 */
async function measureOnce (what, setting, { levels, rounds }) {
  /** @type {CrowdedServer[]} */
  const servers = []
  try {
    for (const level of levels) servers.push(new CrowdedServer(await startChecked(what, setting), setting, level))
    for (const one of shuffled(servers)) await one.fill()
    for (let round = 0; round < WARM_UP_ROUNDS; round++) await measureRound(servers)
    const figures = []
    for (let round = 0; round < rounds; round++) figures.push(await measureRound(servers))
    return figures
  } finally {
    for (const one of servers) await one.stop()
  }
}

/** Microseconds of each operation at each level, and their growth from the first level to the last. @param {CrowdedServer[]} servers */
async function measureRound (servers) {
  /** @type {Record<string, number>} */
  const figures = {}
  for (const operation of OPERATIONS.filter((one) => one !== 'disconnect' || servers[0]?.canDisconnect)) {
    /** @type {Map<CrowdedServer, number>} */
    const costs = new Map()
    for (const one of shuffled(servers)) costs.set(one, await one[operation]())
    const inOrder = servers.map((one) => costs.get(one) ?? NaN)
    for (const [i, { connections }] of servers.entries()) figures[`${operation} ${connections}`] = inOrder[i] ?? NaN
    figures[`${operation} x`] = (inOrder.at(-1) ?? NaN) / (inOrder[0] ?? NaN)
  }
  return figures
}
