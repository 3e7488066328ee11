// @ts-check
/*
 * The results as people read them.
 */
import { MAX_HEAP_MORE } from './subjects.mjs'
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

/** @param {ReturnType<typeof summarizeCpu>} summary */
export function cpuTable ({ microseconds, ratios }) {
  return [
    table([['CPU us per handshake', 'median', 'quartiles'],
      ...Object.entries(microseconds).map(([name, spread]) => [name, ...cells(spread, 1)])]),
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

/** @param {Awaited<ReturnType<typeof import('./measure.mjs').measureCeiling>>} ceiling */
export function ceilingLine ({ perSecond, loadCpu, serverCpu }) {
  return `load generator alone: ${Math.round(perSecond)} handshakes/s, ${loadCpu.toFixed(0)} us of its own CPU each ` +
    `(a server that does nothing: ${serverCpu.toFixed(0)} us)`
}
