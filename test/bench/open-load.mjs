// @ts-check
/*
 * The load on open connections: frames written by hand (RFC 6455, 5.2) on raw sockets, made before they are sent and
 * compared byte by byte with what comes back.
 */
import { createConnection } from 'node:net'
import { CLOSE, createBatch, maskedFrame } from './frames.mjs'
import { play, within } from './load.mjs'

/** @typedef {import('node:net').Socket} Socket */
/** @typedef {import('./scripts.mjs').Script} Script */

/**
 * Opens connections that stay open.
 *
 * @param {{ port: number, scripts: Script[], concurrency: number }} what
 * @returns {Promise<Socket[]>} in the order of their scripts
 */
export async function openConnections ({ port, scripts, concurrency }) {
  /** @type {Socket[]} */
  const sockets = []
  const queue = scripts.entries()
  const work = async () => {
    for (const [i, script] of queue) sockets[i] = await open(port, script)
  }
  await within(Promise.all(Array.from({ length: concurrency }, work)), 'connections')
  return sockets
}

/** @returns {Promise<Socket>} */
function open (port, script) {
  return new Promise((resolve, reject) => {
    const socket = createConnection(port, '127.0.0.1')
    socket.setNoDelay(true)
    const onClose = () => reject(new Error(`closed: ${heard()}`))
    const heard = play(socket, script, () => {
      socket.off('close', onClose).off('error', reject).on('error', () => {})
      if (heard().startsWith(`HTTP/1.1 ${script.status} `)) resolve(socket)
      else reject(new Error(`expected ${script.status}, got: ${heard()}`))
    })
    socket.on('error', reject).on('close', onClose)
  })
}

/**
 * Sends a batch on each connection, and again when the whole of it has come back.
 *
 * @param {Socket[]} sockets
 * @param {import('./frames.mjs').Batch} batch
 * @param {number} rounds
 */
export async function exchange (sockets, batch, rounds) {
  await within(Promise.all(sockets.map((socket) => exchangeOn(socket, batch, rounds))), 'the echoes')
}

/** @param {Socket} socket @param {import('./frames.mjs').Batch} batch @param {number} rounds @returns {Promise<void>} */
function exchangeOn (socket, { sent, expected }, rounds) {
  return new Promise((resolve, reject) => {
    let left = rounds
    let at = 0
    const onData = (/** @type {Buffer} */ chunk) => {
      if (!chunk.equals(expected.subarray(at, at + chunk.length))) return reject(new Error(`another echo: ${chunk.toString('latin1')}`))
      at += chunk.length
      if (at < expected.length) return
      at = 0
      if (--left > 0) return socket.write(sent)
      socket.off('data', onData).off('close', onClose)
      resolve()
    }
    const onClose = () => reject(new Error('closed'))
    socket.on('data', onData).on('close', onClose)
    socket.write(sent)
  })
}

/**
 * Answers the close frame of each connection, as clients do.
 *
 * @param {Socket[]} sockets
 * @param {number} code the close code that each must have
 * @returns {Promise<{ first: number, last: number }>} when the first and the last frame came, once all have
 */
export function awaitGoodbyes (sockets, code) {
  return new Promise((resolve, reject) => {
    let first = 0
    let left = sockets.length
    const onFrame = (/** @type {Socket} */ socket, /** @type {Buffer} */ frame) => {
      if (frame[0] !== CLOSE || frame.readUInt16BE(2) !== code) return reject(new Error(`expected a close frame with ${code}, got: ${frame.toString('latin1')}`))
      socket.write(maskedFrame(CLOSE, frame.subarray(2)))
      const now = Date.now()
      first ||= now
      if (--left === 0) resolve({ first, last: now })
    }
    for (const socket of sockets) socket.once('data', (frame) => onFrame(socket, frame))
  })
}

/**
 * Sends a message every `interval` milliseconds, on the connections in turn.
 *
 * @param {Socket[]} sockets
 * @param {number} interval
 * @returns {() => number[]} stops, and answers with how long each echo took, in milliseconds
 */
export function startTalking (sockets, interval) {
  const { sent, expected } = createBatch('text', 1)
  /** @type {number[]} */
  const times = []
  // Of a server that is blocked several come back at once, and in one chunk.
  const talkers = sockets.map((socket) => {
    /** @type {number[]} */
    const sentAt = []
    let rest = Buffer.alloc(0)
    socket.on('data', (/** @type {Buffer} */ chunk) => {
      rest = Buffer.concat([rest, chunk])
      for (; rest.length >= expected.length; rest = rest.subarray(expected.length)) {
        times.push(rest.subarray(0, expected.length).equals(expected) ? performance.now() - (sentAt.shift() ?? NaN) : NaN)
      }
    })
    return () => {
      sentAt.push(performance.now())
      socket.write(sent)
    }
  })
  let turn = 0
  const timer = setInterval(() => talkers[turn++ % talkers.length]?.(), interval)
  return () => {
    clearInterval(timer)
    return times
  }
}
