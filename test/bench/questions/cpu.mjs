// @ts-check
/*
 * What the questions about CPU time have in common.
 */
import { measureInRounds } from '../measure.mjs'
import { cpuTable, summarizeCpu } from '../report.mjs'

/**
 * @typedef {object} CpuQuestion
 * @property {import('../subject.mjs').Subject[]} subjects
 * @property {import('../report.mjs').Comparison[]} comparisons
 * @property {(subject: import('../subject.mjs').Subject, setting: import('../subject.mjs').Setting) => Promise<import('../runner.mjs').Runner>} start
 * @property {string} operation what is done once
 * @property {{ full: import('./index.mjs').Plan, quick: import('./index.mjs').Plan }} plans
 */

/** @param {CpuQuestion} what @returns {import('./index.mjs').Question & CpuQuestion} */
export function cpuQuestion (what) {
  return {
    ...what,
    measure: (subjects, setting, plan, say) => measureInRounds(what.start, subjects, setting, /** @type {any} */ (plan), say),
    summarize: (measured, comparisons) => summarizeCpu(measured, comparisons),
    table: (summary) => cpuTable(summary, what.operation)
  }
}

/** Rounds of handshakes. */
export const HANDSHAKE_PLANS = {
  full: { sittings: 3, rounds: 6, operations: 2000, warmUp: 6000 },
  quick: { sittings: 1, rounds: 5, operations: 1000, warmUp: 5000 }
}
