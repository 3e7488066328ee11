/*
 * What the runner says of 20,000 assertions, without those that passed: a line for each file, what was skipped, what
 * failed and why. The runner's own reporters say nothing at all where CI is set, or everything.
 */
import { Transform } from 'node:stream'

const PASSED = /^( +(ok|# Subtest:|# time=|1\.\.).*|# Subtest:.*|\s*)$/
const NOT_RUN = /^ +ok .*# (SKIP|TODO)/
const DIAGNOSTICS_START = /^ *---$/
const DIAGNOSTICS_END = /^ *\.\.\.$/

export default class Reporter extends Transform {
  #line = ''
  #isDiagnostics = false

  _transform (chunk, encoding, done) {
    const lines = (this.#line + chunk).split('\n')
    this.#line = lines.pop()
    for (const line of lines) if (this.#isRead(line)) this.push(`${line}\n`)
    done()
  }

  _flush (done) {
    done(null, this.#line)
  }

  #isRead (line) {
    if (DIAGNOSTICS_START.test(line)) this.#isDiagnostics = true
    else if (DIAGNOSTICS_END.test(line)) this.#isDiagnostics = false
    return this.#isDiagnostics || NOT_RUN.test(line) || !PASSED.test(line)
  }
}
