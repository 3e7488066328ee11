// @ts-check
/*
 * The measurements of expiry: what arming costs, and what happens when ten thousand tokens expire in one second.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createRequest, makeHandshakes, stayAwake } from './load.mjs'
import { awaitGoodbyes, openConnections, startTalking } from './open-load.mjs'
import { CONCURRENCY, fail, specOf } from './runner.mjs'
import { runPinned, ServerProcess } from './server-process.mjs'
import { shuffled } from './statistics.mjs'
import { createToken } from './tokens.mjs'

/** @typedef {import('./runner.mjs').Subject & { isTalking?: boolean }} Subject */
/** @typedef {import('./runner.mjs').Setting} Setting */

const ARMING = fileURLToPath(new URL('arming.mjs', import.meta.url))

/** Connections that talk beside those that expire, and every how many milliseconds one of them says something. */
const TALKERS = 5
const TALK_INTERVAL = 20
/** Handshakes before, which also tell how long it will take to open the connections. */
const WARM_UP = 1000

/**
 * @param {{ name: string, by: 'sweep' | 'timers', when: import('./arming.mjs').When, isOtherBuild?: boolean }[]} subjects
 * @param {Setting} setting
 * @param {{ repetitions: number, expiries: number }} plan
 * @param {(line: string) => void} say
 */
export async function measureArming (subjects, { dist, otherDist }, { repetitions, expiries }, say) {
  /** @type {Record<string, import('./arming.mjs').Costs[]>} */
  const results = Object.fromEntries(subjects.map(({ name }) => [name, []]))
  for (let repetition = 1; repetition <= repetitions; repetition++) {
    for (const { name, by, when, isOtherBuild } of shuffled(subjects)) {
      const what = { dist: isOtherBuild ? otherDist : dist, by, when, count: expiries }
      results[name]?.push(JSON.parse(await runPinned(ARMING, [JSON.stringify(what)])))
    }
    say(`repetition ${repetition} of ${repetitions}`)
  }
  return results
}

/**
 * A fresh process each time.
 *
 * @param {Subject[]} subjects
 * @param {Setting} setting
 * @param {{ repetitions: number, connections: number }} plan
 * @param {(line: string) => void} say
 */
export async function measureExpiry (subjects, setting, { repetitions, connections }, say) {
  /** @type {Record<string, Awaited<ReturnType<typeof measureExpiryOnce>>[]>} */
  const results = Object.fromEntries(subjects.map(({ name }) => [name, []]))
  for (let repetition = 1; repetition <= repetitions; repetition++) {
    for (const subject of shuffled(subjects)) {
      results[subject.name]?.push(await measureExpiryOnce(subject, setting, connections))
    }
    say(`repetition ${repetition} of ${repetitions}`)
  }
  return results
}

/**
 * @param {Subject} subject
 * @param {Setting} setting
 * @param {number} connections
 */
async function measureExpiryOnce (subject, setting, connections) {
  const spec = specOf(subject, setting)
  const server = await ServerProcess.start(spec)
  const request = createRequest('header', createToken(subject.algorithm, spec.keys), '/echo')
  const load = { port: server.port, concurrency: CONCURRENCY }
  const stop = stayAwake()
  try {
    const startedAt = Date.now()
    await makeHandshakes({ ...load, request, status: 101, count: WARM_UP })
    // Three times as long as it took for those, for a machine that is busy meanwhile.
    const lead = 3000 + 3 * (Date.now() - startedAt) * connections / WARM_UP
    const expiresAt = Math.ceil((Date.now() + lead) / 1000) * 1000
    const requests = Array.from({ length: connections }, (_, i) =>
      createRequest('header', createToken(subject.algorithm, spec.keys, `user-${i}`, expiresAt / 1000)))
    const talkers = await openConnections({ ...load, requests: subject.isTalking ? Array(TALKERS).fill(request) : [] })
    const goodbyes = awaitGoodbyes(await openConnections({ ...load, requests }), 3000)
    if (Date.now() > expiresAt - 1000) fail('opening took too long: they expire already')

    await sleep(expiresAt - 500 - Date.now())
    const stopTalking = talkers.length > 0 ? startTalking(talkers, TALK_INTERVAL) : () => []
    const [{ first, last }, { user, system, lastAt, longestBlock, longestTurn }] = await Promise.all([
      goodbyes, server.ask('expire', { left: talkers.length })
    ])
    const echoes = stopTalking()
    if (first < expiresAt) fail(`one was closed ${expiresAt - first} ms before its token expired`)
    for (const socket of talkers) socket.destroy()
    return {
      firstTold: first - expiresAt,
      lastTold: last - expiresAt,
      lastGone: lastAt - expiresAt,
      cpu: (user + system) / connections,
      longestBlock,
      longestTurn,
      slowestEcho: Math.max(...echoes)
    }
  } finally {
    stop()
    await server.stop()
  }
}
