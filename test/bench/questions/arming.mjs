// @ts-check
/*
 * What does an expiry cost by itself: to arm, to take back, to wake?
 */
import { fileURLToPath } from 'node:url'
import { measureAfresh } from '../measure.mjs'
import { figureTable, ours, summarizeFigures, targetLine, targetOf } from '../report.mjs'
import { runPinned } from '../server-process.mjs'

/** @typedef {{ name: string, by: 'sweep' | 'timers', when: import('../arming-process.mjs').When, isOtherBuild?: boolean }} ArmingSubject */

const ARMING = fileURLToPath(new URL('../arming-process.mjs', import.meta.url))

/** The most that an armed expiry may cost: 1 MB of heap for 100,000, and nanoseconds. */
const MAX_BYTES = 10
const MAX_NANOSECONDS = 500

/** @type {import('./index.mjs').Question<ArmingSubject>} */
export default {
  plans: { full: { repetitions: 5, expiries: 100_000 }, quick: { repetitions: 1, expiries: 100_000 } },
  subjects: [
    { name: 'C spread', by: 'sweep', when: 'spread' },
    { name: 'C one second', by: 'sweep', when: 'oneSecond' },
    { name: 'C random', by: 'sweep', when: 'random' },
    { name: 'timers spread', by: 'timers', when: 'spread' },
    { name: 'timers one second', by: 'timers', when: 'oneSecond' },
    { name: 'timers random', by: 'timers', when: 'random' }
  ],
  comparisons: [],

  measure: (subjects, { dist, otherDist }, { repetitions, expiries }, say) => measureAfresh(subjects, repetitions, async ({ by, when, isOtherBuild }) => {
    const what = { dist: isOtherBuild === true ? otherDist : dist, by, when, count: expiries }
    return /** @type {Record<string, number>} */ (JSON.parse(await runPinned(ARMING, [JSON.stringify(what)])))
  }, say),

  summarize (measured) {
    const figures = summarizeFigures(measured)
    const worst = (/** @type {string} */ figure) => Math.max(...ours(figures).map((one) => one[figure]?.median ?? NaN))
    return { figures, targets: [targetOf('worst of C, bytes', worst('bytes'), MAX_BYTES), targetOf('worst of C, ns to arm', worst('arm'), MAX_NANOSECONDS)] }
  },

  table: ({ figures, targets }) => figureTable('per expiry', [
    { head: 'heap, bytes', figure: 'bytes', digits: 1 },
    { head: 'arm, ns', figure: 'arm', digits: 0 },
    { head: 'take back, ns', figure: 'forget', digits: 0 },
    { head: 'wake, ns', figure: 'wake', digits: 0 }
  ], figures) + targets.map(targetLine).join('')
}
