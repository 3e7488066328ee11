// @ts-check
/*
 * node test/bench/floods.mjs [--dist <the dist folder>]
 *
 * What does a client cost that sends as fast as it can, without a limit on messages and with one? For each kind of frame a server in a
 * process of its own, and one client. The server says its CPU time; the client divides it by the frames that it wanted to send.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { connect } from 'node:net'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { deflateRawSync } from 'node:zlib'
import Fastify from 'fastify'
import { createScript } from './scripts.mjs'
import { createKeys, createToken } from './tokens.mjs'

const SERVER = fileURLToPath(import.meta.url)
const LIMITS = { off: {}, on: { messages: { perSecond: 100 } } }
/** How many bytes are written at once. */
const CHUNK = 262_144
/** How long the server may read what it was sent last, in milliseconds. */
const SETTLE = 1500

const LARGE = Buffer.alloc(60_000, 'x')
/** What deflate adds at the end of a block, and RFC 7692, 7.2.1 has taken away. */
const TAIL = 4
const compressed = deflateRawSync(LARGE, { finishFlush: 2 }).subarray(0, -TAIL)

/** The frames: first byte (RFC 6455, 5.2), content, and how many. @type {Array<[name: string, head: number, data: Buffer | string, count: number]>} */
const FLOODS = [
  ['text of 1 byte', 0x81, 'x', 300_000],
  ['empty text', 0x81, '', 300_000],
  ['fragments of 1 byte', 0x00, 'x', 300_000],
  ['pings', 0x89, '', 300_000],
  ['pongs', 0x8a, '', 300_000],
  ['binary of 60 kB', 0x82, LARGE, 2000],
  ['text of 60 kB, compressed to 80 bytes', 0xc1, compressed, 2000]
]

/** A frame of a client: its mask is zero, so that its content stays. @param {number} head @param {Buffer | string} data */
function frame (head, data) {
  const content = Buffer.from(data)
  const length = content.length < 126 ? Buffer.from([head, 0x80 | content.length]) : Buffer.from([head, 0xfe, content.length >> 8, content.length & 0xff])
  return Buffer.concat([length, Buffer.alloc(4), content])
}

/** @param {{ dist: string, limits: object, keys: import('./tokens.mjs').Keys }} spec */
async function serve ({ dist, limits, keys }) {
  const { default: fastifyWsAuth } = createRequire(import.meta.url)(resolve(dist, 'index.js'))
  const app = Fastify()
  await app.register(fastifyWsAuth, { jwt: { secret: keys.public }, limits, websocket: { options: { perMessageDeflate: true, maxPayload: 2 ** 20 } } })
  app.get('/chat', { websocket: true }, (socket) => { socket.on('message', () => {}) })
  await app.listen({ port: 0, host: '127.0.0.1' })
  process.send?.(/** @type {import('node:net').AddressInfo} */ (app.server.address()).port)
  process.on('message', () => {
    const { user, system } = process.cpuUsage()
    process.send?.(user + system)
  })
}

/** @param {import('node:net').Socket} socket @param {Buffer} chunk @param {number} times */
async function flood (socket, chunk, times) {
  for (let i = 0; i < times && !socket.destroyed; i++) {
    if (socket.write(chunk)) continue
    const waiting = new AbortController()
    const { signal } = waiting
    await Promise.race([once(socket, 'drain', { signal }), once(socket, 'close', { signal }), sleep(SETTLE, null, { signal })]).catch(() => {})
    waiting.abort()
  }
}

/** @returns {Promise<number>} microseconds for each frame */
async function measure (/** @type {typeof FLOODS[number]} */ [, head, data, count], limits, dist) {
  const keys = createKeys().HS256
  const child = fork(SERVER, [JSON.stringify({ dist, limits, keys })])
  const [port] = await once(child, 'message')
  const cpu = async () => {
    child.send('cpu')
    return (await once(child, 'message'))[0]
  }
  const socket = connect(port, '127.0.0.1').on('error', () => {}).resume()
  const { request } = createScript({ carrier: 'header', isAccepted: true }, createToken('HS256', keys))
  socket.write(request.replace(/\r\n$/, 'Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n\r\n'))
  await once(socket, 'data')
  const one = frame(head, data)
  const each = Math.min(count, Math.floor(CHUNK / one.length))
  const before = await cpu()
  if (head === 0x00) socket.write(frame(0x01, 'x'))
  await flood(socket, Buffer.concat(Array.from({ length: each }, () => one)), Math.ceil(count / each))
  await sleep(SETTLE)
  const used = await cpu() - before
  socket.destroy()
  child.disconnect()
  child.kill()
  return used / count
}

if (process.send !== undefined) {
  await serve(JSON.parse(process.argv[2] ?? ''))
} else {
  const { values: { dist } } = parseArgs({ options: { dist: { type: 'string', default: fileURLToPath(new URL('../../dist', import.meta.url)) } } })
  console.log('| flood | without a limit, us of CPU a frame | with `messages: { perSecond: 100 }` |\n|---|---|---|')
  for (const one of FLOODS) {
    const off = await measure(one, LIMITS.off, dist)
    const on = await measure(one, LIMITS.on, dist)
    console.log(`| ${one[0]} | ${off.toFixed(2)} | ${on.toFixed(2)} |`)
  }
}
