// @ts-check
/*
 * The results as people read them.
 */
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

/** @typedef {{ of: string, to: string, max?: number }} Comparison  of two subjects; `max` is the target */

/**
 * @param {{ cpu: Record<string, number[]>, wall: Record<string, number[]> }} results
 * @param {Comparison[]} comparisons
 */
export function summarizeCpu ({ cpu, wall }, comparisons) {
  const spreads = (figures) => Object.fromEntries(Object.entries(figures).map(([name, values]) => [name, spreadOf(values)]))
  return {
    microseconds: spreads(cpu),
    wall: spreads(wall),
    ratios: comparisons.map(({ of, to, max }) => {
      const ratio = pairedRatios(cpu[of] ?? [], cpu[to] ?? [])
      return { of, to, ...ratio, ...max !== undefined && { max, isMet: ratio.median <= max } }
    })
  }
}

/** @param {ReturnType<typeof summarizeCpu>} summary @param {string} operation */
export function cpuTable ({ microseconds, wall, ratios }, operation) {
  return [
    table([[`CPU us per ${operation}`, 'median', 'quartiles', 'of the clock'],
      ...Object.entries(microseconds).map(([name, spread]) => [name, ...cells(spread, spread.median < 50 ? 2 : 1), wall[name]?.median.toFixed(1) ?? ''])]),
    table([['ratio, paired by round', 'median', 'quartiles', 'target', ''],
      ...ratios.map((ratio) => [`${ratio.of} / ${ratio.to}`, ...cells(ratio, 3), ...targetCells(ratio)])])
  ].join('\n\n')
}

/** @param {{ max?: number, isMet?: boolean }} target */
function targetCells ({ max, isMet }) {
  return max === undefined ? ['', ''] : [`<= ${max}`, isMet ? 'met' : 'MISSED']
}

/**
 * A spread of each figure.
 *
 * @param {Record<string, Record<string, number>[]>} results
 * @returns {Record<string, Record<string, import('./statistics.mjs').Spread>>}
 */
export function summarizeFigures (results) {
  return Object.fromEntries(Object.entries(results).map(([name, all]) =>
    [name, Object.fromEntries(Object.keys(all[0] ?? {}).map((figure) => [figure, spreadOf(all.map((one) => one[figure] ?? NaN))]))]))
}

/** The figures of fastify-ws-auth. */
export function ours (figures) {
  return Object.entries(figures).filter(([name]) => name.startsWith('C')).map(([, one]) => one)
}

/**
 * Each figure of each subject: one row a subject.
 *
 * @param {string} title
 * @param {{ head: string, figure: string, digits: number }[]} columns
 */
export function figureTable (title, columns, figures) {
  return table([[title, ...columns.map(({ head }) => head)],
    ...Object.entries(figures).map(([name, one]) => [name, ...columns.map(({ figure, digits }) => figureCell(one[figure], digits))])])
}

/** Nothing, where it was not asked. */
function figureCell (spread, digits) {
  const { median, low, high } = spread ?? { median: NaN }
  if (low === high && Number.isFinite(median)) return median.toFixed(digits)
  return Number.isFinite(median) ? `${median.toFixed(digits)} (${low.toFixed(digits)} - ${high.toFixed(digits)})` : ''
}

/** @typedef {{ of: string, value: number, max: number, isMet: boolean }} Target */

/** @param {string} of @param {number} value @param {number} max @returns {Target} */
export function targetOf (of, value, max) {
  return { of, value, max, isMet: value <= max }
}

/** @param {Target} target */
export function targetLine ({ of, value, max, isMet }) {
  const [target, word] = targetCells({ max, isMet })
  return `\n${of}: ${value.toFixed(2)}, target ${target}: ${word}`
}

/** @param {Awaited<ReturnType<typeof import('./measure.mjs').measureCeiling>>} ceiling */
export function ceilingLine ({ perSecond, loadCpu, serverCpu }) {
  return `load generator alone: ${Math.round(perSecond)} handshakes/s, ${loadCpu.toFixed(0)} us of its own CPU each ` +
    `(a server that does nothing: ${serverCpu.toFixed(0)} us)`
}
