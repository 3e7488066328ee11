// @ts-check
/*
 * node test/bench/prices.mjs [--dist <the dist folder>] [--rounds <count>]
 *
 * What do the gate of what is sent, and the limits on what clients send, cost by themselves? No network: a class of the app takes what is
 * sent and throws it away, and frames are written into the receivers of open sockets. CPU time of this process. In each round everything is
 * measured once, in random order; a price is the median, over the rounds, of the difference to what is compared.
 */
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import Fastify from 'fastify'
import { WebSocket } from 'ws'
import { maskedFrame } from './frames.mjs'

const { values } = parseArgs({ options: { dist: { type: 'string', default: fileURLToPath(new URL('../../dist', import.meta.url)) }, rounds: { type: 'string', default: '301' } } })
const { default: fastifyWsAuth } = createRequire(import.meta.url)(resolve(/** @type {string} */ (values.dist), 'index.js'))

const SENDS = 20_000
const TURNS = 2000
const FRAMES = 4000
/** How many frames come in one chunk. */
const CHUNKS = [1, 10, 1000]

class Quiet extends WebSocket {
  /** @override */
  send () {}
}

const rate = { perSecond: 1e9, burst: 1e9 }
const bytes = { perSecond: 1e12 }
/** @type {Record<string, any>} */
const ROUTES = {
  public: false,
  off: true,
  messages: { limits: { messages: rate } },
  'messages and bytes': { limits: { messages: rate, bytes } },
  'messages per user': { limits: { messages: { ...rate, perUser: true } } },
  'messages, pause': { limits: { messages: { ...rate, onLimit: 'pause' } } },
  idle: { limits: { idle: 1e6 } }
}

/** @type {Record<string, any>} */
const sockets = {}
const app = Fastify()
await app.register(fastifyWsAuth, { jwt: { secret: 'x'.repeat(32) }, websocket: { options: { WebSocket: Quiet } } })
for (const [name, wsAuth] of Object.entries(ROUTES)) {
  app.get(`/${encodeURIComponent(name)}`, { websocket: true, wsAuth }, (socket) => {
    sockets[name] = socket
    socket.on('message', () => {})
  })
}
await app.listen({ port: 0, host: '127.0.0.1' })
const { port } = /** @type {import('node:net').AddressInfo} */ (app.server.address())
const headers = { authorization: `Bearer ${/** @type {any} */ (app).jwt.sign({ sub: 'ann' }, { expiresIn: '1h' })}` }
for (const name of Object.keys(ROUTES)) new WebSocket(`ws://127.0.0.1:${port}/${encodeURIComponent(encodeURIComponent(name))}`, { headers }).on('error', () => {})
while (Object.keys(sockets).length < Object.keys(ROUTES).length) await turn()

const frame = maskedFrame(0x81, Buffer.from('hello'))
const chunks = new Map(CHUNKS.map((count) => [count, Buffer.concat(Array.from({ length: count }, () => frame))]))

/** @param {string} name */
function sendInLoop (name) {
  const socket = sockets[name]
  for (let i = 0; i < SENDS; i++) socket.send('x')
}

/** Each send in a turn of its own. @param {string} name @returns {Promise<void>} */
function sendInTurns (name) {
  const socket = sockets[name]
  return new Promise((resolve) => {
    let left = TURNS
    const next = () => {
      socket.send('x')
      if (--left > 0) setImmediate(next)
      else resolve()
    }
    next()
  })
}

/** @param {string} name @param {number} count */
function receive (name, count) {
  const { _receiver: receiver } = sockets[name]
  for (let i = 0; i < FRAMES; i += count) receiver.write(Buffer.from(/** @type {Buffer} */ (chunks.get(count))))
}

function readClock () {
  let sum = 0
  for (let i = 0; i < SENDS; i++) sum += Date.now()
  return sum
}

/** @type {Array<{ name: string, run: () => unknown, count: number, than?: string }>} */
const MEASURED = [
  { name: 'Date.now()', run: readClock, count: SENDS },
  { name: 'a send in a loop, without a gate', run: () => sendInLoop('public'), count: SENDS },
  { name: 'a send in a loop', run: () => sendInLoop('off'), count: SENDS, than: 'a send in a loop, without a gate' },
  { name: 'a send in a turn of its own, without a gate', run: () => sendInTurns('public'), count: TURNS },
  { name: 'a send in a turn of its own', run: () => sendInTurns('off'), count: TURNS, than: 'a send in a turn of its own, without a gate' },
  ...CHUNKS.flatMap((count) => Object.keys(ROUTES).filter((name) => name !== 'public').map((name) => ({
    name: `a message, ${count} in a chunk, ${name}`,
    run: () => receive(name, count),
    count: FRAMES,
    ...name !== 'off' && { than: `a message, ${count} in a chunk, off` }
  })))
]

/** @type {Map<string, number[]>} nanoseconds, by round */
const results = new Map(MEASURED.map(({ name }) => [name, []]))
const rounds = Number(values.rounds)
for (let round = -2; round < rounds; round++) {
  for (const { name, run, count } of [...MEASURED].sort(() => Math.random() - 0.5)) {
    await turn()
    const before = process.cpuUsage()
    await run()
    const { user, system } = process.cpuUsage(before)
    if (round >= 0) results.get(name)?.push((user + system) * 1000 / count)
  }
}

/** @param {number[]} list @param {number} part */
function quantile (list, part) {
  return ([...list].sort((a, b) => a - b)[Math.round((list.length - 1) * part)] ?? NaN)
}

console.log('| ns of CPU | median | more than what is compared (quartiles) |\n|---|---|---|')
for (const { name, than } of MEASURED) {
  const list = /** @type {number[]} */ (results.get(name))
  const other = than === undefined ? undefined : results.get(than)
  const more = other === undefined ? [] : list.map((value, i) => value - /** @type {number} */ (other[i]))
  const difference = other === undefined ? '' : `${quantile(more, 0.5).toFixed(0)} (${quantile(more, 0.25).toFixed(0)} to ${quantile(more, 0.75).toFixed(0)})`
  console.log(`| ${name} | ${quantile(list, 0.5).toFixed(0)} | ${difference} |`)
}
process.exit()
