// @ts-check
/*
 * The results as people read them.
 */
import { MAX_ARMED_BYTES, MAX_ARMING, MAX_HEAP_MORE, MAX_LATE } from './subjects.mjs'
import { pairedRatios, spreadOf } from './statistics.mjs'

/** Rows with their columns aligned. @param {string[][]} rows */
function table (rows) {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) => row.map((cell, i) => i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)).join('  ').trimEnd()).join('\n')
}

/** @param {import('./statistics.mjs').Spread} spread */
function cells ({ median, low, high }, digits) {
  return [median.toFixed(digits), `${low.toFixed(digits)} - ${high.toFixed(digits)}`]
}

/**
 * @param {Record<string, number[]>} results
 * @param {import('./subjects.mjs').Comparison[]} comparisons
 */
export function summarizeCpu (results, comparisons) {
  return {
    microseconds: Object.fromEntries(Object.entries(results).map(([name, values]) => [name, spreadOf(values)])),
    ratios: comparisons.map(({ of, to, max }) => {
      const ratio = pairedRatios(results[of] ?? [], results[to] ?? [])
      return { of, to, ...ratio, ...max !== undefined && { max, isMet: ratio.median <= max } }
    })
  }
}

/** @param {ReturnType<typeof summarizeCpu>} summary @param {string} operation */
export function cpuTable ({ microseconds, ratios }, operation) {
  return [
    table([[`CPU us per ${operation}`, 'median', 'quartiles'],
      ...Object.entries(microseconds).map(([name, spread]) => [name, ...cells(spread, spread.median < 50 ? 2 : 1)])]),
    table([['ratio, paired by round', 'median', 'quartiles', 'target', ''],
      ...ratios.map((ratio) => [`${ratio.of} / ${ratio.to}`, ...cells(ratio, 3), ...targetCells(ratio)])])
  ].join('\n\n')
}

/** @param {{ max?: number, isMet?: boolean }} target */
function targetCells ({ max, isMet }) {
  return max === undefined ? ['', ''] : [`<= ${max}`, isMet ? 'met' : 'MISSED']
}

/** @param {Record<string, { heap: number[], external: number[], rss: number[] }>} results */
export function summarizeMemory (results) {
  const kib = (values) => spreadOf(values.map((value) => value / 1024))
  const summary = Object.fromEntries(Object.entries(results).map(([name, { heap, external, rss }]) =>
    [name, { heap: kib(heap), external: kib(external), rss: kib(rss) }]))
  const more = (summary.C?.heap.median ?? NaN) - (summary.A?.heap.median ?? NaN)
  return { kib: summary, more: { of: 'C', to: 'A', heap: more, max: MAX_HEAP_MORE, isMet: more <= MAX_HEAP_MORE } }
}

/** @param {ReturnType<typeof summarizeMemory>} summary */
export function memoryTable ({ kib, more }) {
  const rows = Object.entries(kib).map(([name, { heap, external, rss }]) =>
    [name, ...cells(heap, 2), (heap.median - (kib.A?.heap.median ?? NaN)).toFixed(2), external.median.toFixed(2), ...cells(rss, 1)])
  const [target, isMet] = targetCells(more)
  return table([['KiB per idle connection', 'heap', 'quartiles', 'heap - A', 'external', 'rss', 'quartiles'], ...rows]) +
    `\nheap of C - heap of A: ${more.heap.toFixed(2)} KiB, target ${target}: ${isMet}`
}

/**
 * A spread of each figure.
 *
 * @param {Record<string, Record<string, number>[]>} results
 * @returns {Record<string, Record<string, import('./statistics.mjs').Spread>>}
 */
function summarizeFigures (results) {
  return Object.fromEntries(Object.entries(results).map(([name, all]) =>
    [name, Object.fromEntries(Object.keys(all[0] ?? {}).map((figure) => [figure, spreadOf(all.map((one) => one[figure] ?? NaN))]))]))
}

/** The figures of fastify-ws-auth. */
function ours (figures) {
  return Object.entries(figures).filter(([name]) => name.startsWith('C')).map(([, one]) => one)
}

/** Each figure of each subject: one row a subject. */
function figureTable (title, columns, figures) {
  return table([[title, ...columns.map(({ head }) => head)],
    ...Object.entries(figures).map(([name, one]) => [name, ...columns.map(({ figure, digits }) => figureCell(one[figure], digits))])])
}

function figureCell ({ median, low, high }, digits) {
  return Number.isFinite(median) ? `${median.toFixed(digits)} (${low.toFixed(digits)} - ${high.toFixed(digits)})` : ''
}

/** @param {Record<string, import('./arming.mjs').Costs[]>} results */
export function summarizeArming (results) {
  const figures = summarizeFigures(results)
  const worst = (/** @type {string} */ figure) => Math.max(...ours(figures).map((one) => one[figure]?.median ?? NaN))
  return {
    figures,
    targets: [
      { of: 'bytes', worst: worst('bytes'), max: MAX_ARMED_BYTES, isMet: worst('bytes') <= MAX_ARMED_BYTES },
      { of: 'arm', worst: worst('arm'), max: MAX_ARMING, isMet: worst('arm') <= MAX_ARMING }
    ]
  }
}

/** @param {ReturnType<typeof summarizeArming>} summary */
export function armingTable ({ figures, targets }) {
  return figureTable('per expiry', [
    { head: 'heap, bytes', figure: 'bytes', digits: 1 },
    { head: 'arm, ns', figure: 'arm', digits: 0 },
    { head: 'take back, ns', figure: 'forget', digits: 0 },
    { head: 'wake, ns', figure: 'wake', digits: 0 }
  ], figures) + targets.map(targetLine).join('')
}

/** @param {Awaited<ReturnType<typeof import('./expiry.mjs').measureExpiry>>} results */
export function summarizeExpiry (results) {
  const figures = summarizeFigures(results)
  const worst = Math.max(...ours(figures).map((one) => one.lastTold?.median ?? NaN))
  return { figures, targets: [{ of: 'last told', worst, max: MAX_LATE, isMet: worst <= MAX_LATE }] }
}

/** @param {ReturnType<typeof summarizeExpiry>} summary */
export function expiryTable ({ figures, targets }) {
  return figureTable('ms after expiry', [
    { head: 'first told', figure: 'firstTold', digits: 0 },
    { head: 'last told', figure: 'lastTold', digits: 0 },
    { head: 'last gone', figure: 'lastGone', digits: 0 },
    { head: 'CPU us each', figure: 'cpu', digits: 1 },
    { head: 'longest block, ms', figure: 'longestBlock', digits: 0 },
    { head: 'of CPU', figure: 'longestTurn', digits: 0 },
    { head: 'slowest echo, ms', figure: 'slowestEcho', digits: 0 }
  ], figures) + targets.map(targetLine).join('')
}

function targetLine ({ of, worst, max, isMet }) {
  const [target, word] = targetCells({ max, isMet })
  return `\nworst of C, ${of}: ${worst.toFixed(1)}, target ${target}: ${word}`
}

/** @param {Awaited<ReturnType<typeof import('./measure.mjs').measureCeiling>>} ceiling */
export function ceilingLine ({ perSecond, loadCpu, serverCpu }) {
  return `load generator alone: ${Math.round(perSecond)} handshakes/s, ${loadCpu.toFixed(0)} us of its own CPU each ` +
    `(a server that does nothing: ${serverCpu.toFixed(0)} us)`
}
