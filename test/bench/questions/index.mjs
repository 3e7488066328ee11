// @ts-check
/*
 * What is asked. A question says who is asked, how it is measured, and how the answer reads.
 */
import accepted from './accepted.mjs'
import arming from './arming.mjs'
import echo from './echo.mjs'
import ends from './ends.mjs'
import growth from './growth.mjs'
import memory from './memory.mjs'
import refused from './refused.mjs'
import scale from './scale.mjs'
import start from './start.mjs'
import storm from './storm.mjs'

/** @typedef {Record<string, any>} Plan  how often, and of how many */

/**
 * @template {{ name: string }} [S=import('../subject.mjs').Subject]
 * @typedef {object} Question
 * @property {{ full: Plan, quick: Plan }} plans fixed before anything is measured
 * @property {S[]} subjects
 * @property {import('../report.mjs').Comparison[]} comparisons
 * @property {(subjects: S[], setting: import('../subject.mjs').Setting, plan: Plan, say: (line: string) => void) => Promise<any>} measure
 * @property {(measured: any, comparisons: import('../report.mjs').Comparison[]) => any} summarize
 * @property {(summary: any) => string} table
 */

export const questions = { accepted, refused, storm, echo, memory, growth, ends, arming, start, scale }
