/*
 * Mutation testing of the files of lib that decide who is admitted: Stryker changes one expression at a time, and a test has to
 * fail for each change. `npm run mutation` tries all of them, `npm run mutation -- --mutate lib/claims.ts` those of one file,
 * `--mutate lib/claims.ts:50-70` those of some lines; with `--incremental`, those only that no change of code or tests since
 * the last run has left as they were. The report is .stryker/mutation.html. Not a part of `npm test`: it takes tens of minutes.
 */
import { FILES } from './tests-of-files.mjs'

export default {
  mutate: Object.keys(FILES),
  plugins: ['./test/mutation/runner.mjs', './test/mutation/ignorer.mjs'],
  testRunner: 'tap-tests',
  ignorers: ['texts'],
  coverageAnalysis: 'perTest',
  concurrency: 2,
  // One build has all mutants; which is active is said to each process. The sandbox has no node_modules yet.
  buildCommand: 'node ../../../node_modules/typescript-7/bin/tsc -p test/mutation',
  disableTypeChecks: false,
  // Nothing of it is run here.
  ignorePatterns: ['/dist', '/example', '/test/bench', '/test/types', '*.md'],
  // A mutant that makes a test wait for ever is found sooner, by an event loop that is empty; else it may take its time, since a
  // busy machine is no proof of a mutant.
  timeoutMS: 10_000,
  timeoutFactor: 4,
  dryRunTimeoutMinutes: 20,
  tempDirName: '.stryker/sandbox',
  incrementalFile: '.stryker/incremental.json',
  reporters: ['clear-text', 'html', 'json', 'progress-append-only'],
  clearTextReporter: { allowColor: false, logTests: false, reportTests: false },
  htmlReporter: { fileName: '.stryker/mutation.html' },
  jsonReporter: { fileName: '.stryker/mutation.json' },
  thresholds: { high: 95, low: 90, break: null },
  allowEmpty: false
}
