// @ts-check
/*
 * What does a start cost: the import, the registration until the app is ready, and the first handshake?
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { handshake } from '../load.mjs'
import { measureAfresh } from '../measure.mjs'
import { figureTable, summarizeFigures, targetLine, targetOf } from '../report.mjs'
import { createScript } from '../scripts.mjs'
import { onServerCore } from '../server-process.mjs'
import { createToken } from '../tokens.mjs'

/** @typedef {{ name: string, by: 'bare' | 'plugin', isOtherBuild?: boolean }} StartSubject */

const START = fileURLToPath(new URL('../start-process.mjs', import.meta.url))

/** The most that the import of C may take longer than that of the packages that it rests on, in milliseconds. */
const MAX_MORE = 15
/** How long a start may take, in milliseconds. */
const TIMEOUT = 30_000

/** @type {import('./index.mjs').Question<StartSubject>} */
export default {
  plans: { full: { repetitions: 30 }, quick: { repetitions: 20 } },
  subjects: [{ name: 'B', by: 'bare' }, { name: 'C', by: 'plugin' }],
  comparisons: [],

  measure: (subjects, setting, { repetitions }, say) => measureAfresh(subjects, repetitions, (one) => measureOnce(one, setting), (line) => {
    if (line.endsWith(`of ${repetitions}`) && line.includes(` ${repetitions} `)) say(line)
  }),

  summarize (measured) {
    const figures = summarizeFigures(measured)
    const more = (figures.C?.importing?.median ?? NaN) - (figures.B?.importing?.median ?? NaN)
    return { figures, targets: [targetOf('import of C - import of @fastify/cookie, @fastify/jwt and @fastify/websocket, ms', more, MAX_MORE)] }
  },

  table: ({ figures, targets }) => figureTable('ms of a fresh process', [
    { head: 'import', figure: 'importing', digits: 1 },
    { head: 'of CPU', figure: 'importingCpu', digits: 1 },
    { head: 'until ready', figure: 'registering', digits: 1 },
    { head: 'of CPU', figure: 'registeringCpu', digits: 1 },
    { head: 'first handshake', figure: 'first', digits: 1 },
    { head: 'second', figure: 'second', digits: 1 },
    { head: 'all', figure: 'all', digits: 1 }
  ], figures) + targets.map(targetLine).join('')
}

/** @param {StartSubject} what @param {import('../subject.mjs').Setting} setting */
async function measureOnce ({ by, isOtherBuild }, { keys, dist, otherDist }) {
  const secret = keys.HS256.public
  const script = createScript({ carrier: 'header', isAccepted: true }, createToken('HS256', keys.HS256), '/chat', 'hello')
  const { execPath, execArgv } = onServerCore()
  const child = fork(START, [JSON.stringify({ by, dist: isOtherBuild === true ? otherDist : dist, secret })], { execPath, execArgv })
  const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT)
  const exited = once(child, 'exit')
  try {
    const [{ port, ...times }] = await Promise.race([once(child, 'message'), exited.then(() => { throw new Error('it did not start') })])
    const [first, second] = [await timeOf(port, script), await timeOf(port, script)]
    return { ...times, first, second, all: times.importing + times.registering + first }
  } finally {
    if (child.connected) child.disconnect()
    await exited
    clearTimeout(timer)
  }
}

/** Until the handler's greeting has come and the connection is closed. @param {number} port @param {import('../scripts.mjs').Script} script */
async function timeOf (port, script) {
  const startedAt = performance.now()
  await handshake(port, script)
  return performance.now() - startedAt
}
