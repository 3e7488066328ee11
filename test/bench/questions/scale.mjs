// @ts-check
/*
 * What does one process do with as many connections as it can hold: what does a handshake cost beside them, what do they keep, and what
 * happens when one user is revoked, when all tokens expire in one second, and when the server is drained?
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Crowd } from '../crowd/crowd.mjs'
import { roomFor } from '../crowd/limits.mjs'
import { BLOCK } from '../crowd/turns.mjs'
import { makeHandshakes, stayAwake } from '../load.mjs'
import { measureAfresh } from '../measure.mjs'
import { openConnections } from '../open-load.mjs'
import { figureTable, summarizeFigures, targetLine, targetOf } from '../report.mjs'
import { CONCURRENCY } from '../runner.mjs'
import { spreadOf } from '../statistics.mjs'
import { scriptOf, startChecked, subject } from '../subject.mjs'

/** @typedef {import('../subject.mjs').Subject & { inMemory?: boolean, ends?: boolean }} ScaleSubject  with `inMemory`, those that do not fit by TCP are in the memory of the server; with `ends`, connections are revoked, expire and are drained */
/** @typedef {import('../subject.mjs').Setting} Setting */
/** @typedef {import('../subject.mjs').Started} Started */

/** The ratio of handshakes, and milliseconds. A timer of a drain wakes every 20 ms, and the last close frame has its way to go. */
const TARGETS = { growth: 1.3, revoked: 5, expired: 10_000, late: 100 }
/** The connections of the server that the full one is compared with. */
const FEW = 1000
const WARM_UP = 6000
/** Handshakes of a round. */
const HANDSHAKES = 2000
/** Users who are revoked, one after the other. */
const REVOKED = 50
/** How long all have to be told or to be gone, in milliseconds: so much, and so much for each. */
const TIMEOUT = 30_000
const TIMEOUT_EACH = 1
/** When tokens expire that are made now, in milliseconds: so much, and so many times what opening took before. */
const LEAD = 5000
const LEAD_TIMES = 1.5

/** The window of a drain, in milliseconds for each connection: a minute for 200,000. */
const WITHIN_EACH = 0.3

const UNAUTHORIZED = 3000
const GOING_AWAY = 1001

/** @type {import('./index.mjs').Question<ScaleSubject>} */
export default {
  plans: {
    full: { repetitions: 1, connections: 200_000, rounds: 12 },
    quick: { repetitions: 1, connections: 10_000, rounds: 4 }
  },
  subjects: [
    subject('A', 'none'),
    { ...subject('C', 'plugin'), ends: true },
    { ...subject('C, the rest in memory', 'plugin'), inMemory: true, ends: true }
  ],
  comparisons: [],

  async measure (subjects, setting, plan, say) {
    const room = roomFor(plan.connections)
    if (room.limit !== '') say(`${room.connections} of ${plan.connections} connections fit: ${room.limit}`)
    const asked = subjects.filter(({ inMemory }) => room.limit !== '' || inMemory !== true)
    return { room, wanted: plan.connections, results: await measureAfresh(asked, plan.repetitions, (one) => measureOnce(one, setting, plan, room.connections, say), say) }
  },

  summarize ({ room, wanted, results }) {
    const figures = summarizeFigures(results)
    const targets = Object.entries(figures).filter(([name]) => name.startsWith('C')).flatMap(([name, one]) => [
      targetOf(`${name}: handshake, growth from ${FEW}`, one.growth?.median ?? NaN, TARGETS.growth),
      targetOf(`${name}: one user revoked and told, ms`, one.revokeTold?.median ?? NaN, TARGETS.revoked),
      targetOf(`${name}: last told of its expiry, ms`, one.expiryLast?.median ?? NaN, TARGETS.expired),
      targetOf(`${name}: longest turn of the expiry, ms of CPU`, one.expiryTurnCpu?.median ?? NaN, BLOCK),
      targetOf(`${name}: drain, last told after its window, ms`, one.drainLate?.median ?? NaN, TARGETS.late),
      targetOf(`${name}: longest turn of the drain, ms of CPU`, one.drainTurnCpu?.median ?? NaN, BLOCK)
    ])
    return { room, wanted, figures, targets }
  },

  table: ({ room, wanted, figures, targets }) => [
    room.limit === '' ? `all ${wanted} connections fit` : `${room.connections} of ${wanted} connections fit by TCP: ${room.limit}`,
    figureTable('open at once', [
      { head: 'connections', figure: 'connections', digits: 0 },
      { head: 'by TCP', figure: 'tcp', digits: 0 },
      { head: 'handshake us', figure: 'accepted', digits: 1 },
      { head: `with ${FEW} open`, figure: 'acceptedFew', digits: 1 },
      { head: 'x', figure: 'growth', digits: 3 },
      { head: 'heap KiB', figure: 'heap', digits: 2 },
      { head: 'rss KiB', figure: 'rss', digits: 1 },
      { head: 'rss MiB', figure: 'rssOfAll', digits: 0 }
    ], figures),
    figureTable('one user revoked, ms', [
      { head: 'call returned', figure: 'revokeReturned', digits: 2 },
      { head: 'client told', figure: 'revokeTold', digits: 2 },
      { head: 'slowest of all', figure: 'revokeSlowest', digits: 2 }
    ], figures),
    ...['expiry', 'drain'].map((end) => figureTable(`${end}, ms`, [
      { head: 'first told', figure: `${end}First`, digits: 0 },
      { head: 'last told', figure: `${end}Last`, digits: 0 },
      { head: 'last gone', figure: `${end}Gone`, digits: 0 },
      { head: 'longest turn', figure: `${end}Turn`, digits: 0 },
      { head: 'longest of CPU', figure: `${end}TurnCpu`, digits: 0 },
      { head: 'without GC', figure: `${end}OwnCpu`, digits: 0 },
      { head: `turns over ${BLOCK}`, figure: `${end}Blocks`, digits: 0 },
      { head: 'longest GC', figure: `${end}Gc`, digits: 0 }
    ], figures))
  ].join('\n\n') + '\n' + targets.map(targetLine).join('')
}

/** @param {ScaleSubject} what @param {Setting} setting @param {import('./index.mjs').Plan} plan @param {number} fits @param {(line: string) => void} say */
async function measureOnce (what, setting, { connections, rounds }, fits, say) {
  const size = { tcp: Math.min(fits, connections), inMemory: what.inMemory === true ? connections - fits : 0 }
  /** @type {{ stop: () => Promise<void> }[]} */
  const running = []
  const start = async () => {
    const started = await startChecked(what, setting)
    running.unshift(started.server)
    return started
  }
  try {
    const [full, few] = [await start(), await start()]
    const crowd = new Crowd(full, setting, size)
    running.unshift(crowd)
    for (const { server } of [full, few]) await warmUp(server, scriptOf(full))
    const others = await openConnections({ port: few.server.port, scripts: Array.from({ length: FEW }, (_, i) => scriptOf(few, `user-${i}`)), concurrency: CONCURRENCY })

    const before = await full.server.ask('memory')
    const openedAt = Date.now()
    await crowd.open()
    const opening = Date.now() - openedAt
    const after = await full.server.ask('memory')
    say(`${what.name}: ${crowd.size} are open after ${opening} ms`)
    const figures = {
      connections: crowd.size,
      tcp: size.tcp,
      opening,
      heap: (after.heapUsed - before.heapUsed) / crowd.size / 1024,
      rss: (after.rss - before.rss) / crowd.size / 1024,
      rssOfAll: after.rss / 2 ** 20,
      ...await compareHandshakes(full, few, crowd.size, rounds)
    }
    for (const socket of others) socket.destroy()
    await few.server.stop()
    if (what.ends !== true) return figures
    Object.assign(figures, await revokeUsers(full, crowd.size))
    await crowd.leave()
    await allGone(full, crowd.size)
    say(`${what.name}: they expire`)
    Object.assign(figures, await expire(full, crowd, opening))
    say(`${what.name}: they are drained`)
    await crowd.open()
    Object.assign(figures, await drain(full, crowd, Math.ceil(WITHIN_EACH * crowd.size)))
    return figures
  } finally {
    for (const one of running) await one.stop()
  }
}

/** @param {import('../server-process.mjs').ServerProcess} server @param {import('../scripts.mjs').Script} script */
async function warmUp (server, script) {
  await makeHandshakes({ port: server.port, scripts: [script], count: WARM_UP, concurrency: CONCURRENCY })
  await server.ask('settle', { count: 0 })
}

/** Microseconds of a handshake on the full server, and on the one with few connections, in turn. @param {Started} full @param {Started} few @param {number} open @param {number} rounds */
async function compareHandshakes (full, few, open, rounds) {
  const costs = /** @type {{ full: number[], few: number[] }} */ ({ full: [], few: [] })
  for (let round = 0; round < rounds; round++) {
    costs.few.push(await costOf(few, FEW))
    costs.full.push(await costOf(full, open))
  }
  return {
    accepted: spreadOf(costs.full).median,
    acceptedFew: spreadOf(costs.few).median,
    acceptedMean: costs.full.reduce((sum, one) => sum + one, 0) / rounds,
    growth: spreadOf(costs.full.map((one, i) => one / (costs.few[i] ?? NaN))).median
  }
}

/** @param {Started} started @param {number} stay */
async function costOf (started, stay) {
  const { server } = started
  await server.ask('begin')
  await makeHandshakes({ port: server.port, scripts: [scriptOf(started)], count: HANDSHAKES, concurrency: CONCURRENCY })
  await server.ask('untilOpen', { count: stay, timeout: TIMEOUT })
  const { user, system } = await server.ask('usage')
  return (user + system) / HANDSHAKES
}

/** @param {Started} started @param {number} open */
async function revokeUsers (started, open) {
  const { server } = started
  const subs = Array.from({ length: REVOKED }, (_, i) => `revoked-${i}`)
  const sockets = await openConnections({ port: server.port, scripts: subs.map((sub) => scriptOf(started, sub)), concurrency: CONCURRENCY })
  const stop = stayAwake()
  try {
    const returned = []
    const told = []
    for (const [i, sub] of subs.entries()) {
      const heardAt = new Promise((resolve) => sockets[i]?.once('data', () => resolve(Number(process.hrtime.bigint()) / 1e6)))
      const revoked = await server.ask('revoke', { sub })
      returned.push(revoked.returned)
      told.push(await heardAt - revoked.calledAt)
      sockets[i]?.destroy()
    }
    await server.ask('untilOpen', { count: open, timeout: TIMEOUT })
    return { revokeReturned: spreadOf(returned).median, revokeTold: spreadOf(told).median, revokeSlowest: Math.max(...told, ...returned) }
  } finally {
    stop()
  }
}

/** @param {Started} started @param {Crowd} crowd @param {number} opening how long it took before, in milliseconds */
async function expire ({ server }, crowd, opening) {
  const expiresAt = Math.ceil((Date.now() + LEAD + LEAD_TIMES * opening) / 1000) * 1000
  await crowd.open(expiresAt / 1000)
  if (Date.now() > expiresAt - 1000) throw new Error('opening took too long: they expire already')
  await sleep(expiresAt - 500 - Date.now())
  const figures = await endOf(server, crowd, UNAUTHORIZED, expiresAt, TIMEOUT, async () => {})
  if (figures.first < 0) throw new Error(`one was closed ${-figures.first} ms before its token expired`)
  return named('expiry', figures)
}

/** @param {Started} started @param {Crowd} crowd @param {number} within */
async function drain ({ server }, crowd, within) {
  const startedAt = Date.now()
  const figures = await endOf(server, crowd, GOING_AWAY, startedAt, within + TIMEOUT, async () => {
    const { closed } = await server.ask('drain', { within }, within + 2 * TIMEOUT)
    if (closed !== crowd.size) throw new Error(`the drain closed ${closed}, not ${crowd.size}`)
  })
  return { ...named('drain', figures), drainLate: figures.last - within }
}

/**
 * Measures an end of all connections.
 *
 * @param {import('../server-process.mjs').ServerProcess} server
 * @param {Crowd} crowd
 * @param {number} code the close code
 * @param {number} since when it begins, in milliseconds since the epoch
 * @param {number} timeout
 * @param {() => Promise<void>} begin
 */
async function endOf (server, crowd, code, since, timeout, begin) {
  await crowd.expect(code)
  await server.ask('beginTurns')
  await begin()
  const { first, last } = await crowd.goodbyes(timeout + TIMEOUT_EACH * crowd.size)
  await allGone({ server }, crowd.size)
  const gone = Date.now() - since
  return { first: first - since, last: last - since, gone, ...await server.ask('endTurns') }
}

/** @param {{ server: import('../server-process.mjs').ServerProcess }} started @param {number} count how many were there */
async function allGone ({ server }, count) {
  const timeout = TIMEOUT + TIMEOUT_EACH * count
  await server.ask('untilOpen', { count: 0, timeout }, timeout + TIMEOUT)
  await server.ask('settle', { count: 0, timeout }, timeout + TIMEOUT)
}

/** @param {string} end @param {Record<string, number>} figures */
function named (end, figures) {
  return Object.fromEntries(Object.entries(figures).map(([name, value]) => [`${end}${name[0]?.toUpperCase()}${name.slice(1)}`, value]))
}
