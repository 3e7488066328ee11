// @ts-check
/*
 * The load on open connections: frames written by hand (RFC 6455, 5.2) on raw sockets, made before they are sent and
 * compared byte by byte with what comes back.
 */
import { createConnection } from 'node:net'
import { within } from './load.mjs'

/** @typedef {import('node:net').Socket} Socket */
/** @typedef {'text' | 'json'} MessageKind  how messages begin: with a letter, or as the auth frames of fastify-ws-auth do */
/** @typedef {{ sent: Buffer, expected: Buffer }} Batch  the frames of a few messages, and those that come back */

const MESSAGE_BYTES = 64
const TEXT = 0x81
const CLOSE = 0x88
const IS_MASKED = 0x80

/** @param {string} text of less than 126 bytes */
export function textFrame (text) {
  return maskedFrame(TEXT, Buffer.from(text))
}

/** A frame of a client. The key is zero: it costs the server the same, and payloads can be read. */
function maskedFrame (head, payload) {
  if (payload.length < 126) return Buffer.concat([Buffer.from([head, IS_MASKED | payload.length, 0, 0, 0, 0]), payload])
  return Buffer.concat([Buffer.from([head, IS_MASKED | 126, payload.length >> 8, payload.length & 255, 0, 0, 0, 0]), payload])
}

/** @param {MessageKind} kind @param {number} count @returns {Batch} */
export function createBatch (kind, count) {
  const messages = Array.from({ length: count }, (_, i) => createMessage(kind, i))
  return {
    sent: Buffer.concat(messages.map(textFrame)),
    expected: Buffer.concat(messages.flatMap((message) => [Buffer.from([TEXT, MESSAGE_BYTES]), Buffer.from(message)]))
  }
}

/** @param {MessageKind} kind */
function createMessage (kind, i) {
  const start = kind === 'text' ? `message ${i} ` : `{"type":"chat","id":${i},"text":"`
  const end = kind === 'text' ? '.' : '"}'
  return start + 'x'.repeat(MESSAGE_BYTES - start.length - end.length) + end
}

/**
 * Opens connections that stay open.
 *
 * @param {{ port: number, requests: string[], concurrency: number, first?: string[] }} what `first`: the message that each
 *   sends before it counts as open, and that the server answers
 * @returns {Promise<Socket[]>}
 */
export async function openConnections ({ port, requests, concurrency, first }) {
  /** @type {Socket[]} */
  const sockets = []
  const queue = requests.entries()
  const work = async () => {
    for (const [i, request] of queue) sockets.push(await open(port, request, first?.[i]))
  }
  await within(Promise.all(Array.from({ length: concurrency }, work)), 'connections')
  return sockets
}

/** @returns {Promise<Socket>} */
function open (port, request, first) {
  return new Promise((resolve, reject) => {
    const socket = createConnection(port, '127.0.0.1', () => socket.write(request))
    socket.setNoDelay(true)
    socket.on('error', reject)
    socket.once('data', (chunk) => {
      if (chunk.toString('latin1', 0, 13) !== 'HTTP/1.1 101 ') return reject(new Error(`expected 101, got: ${chunk.toString('latin1', 0, 200)}`))
      if (first === undefined) return resolve(socket)
      socket.write(textFrame(first))
      socket.once('data', (answer) => {
        if (answer[0] === TEXT && answer.includes('"auth.ok"')) resolve(socket)
        else reject(new Error(`expected auth.ok, got: ${answer.toString('latin1')}`))
      })
    })
  })
}

/**
 * Sends a batch on each connection, and again when the whole of it has come back.
 *
 * @param {Socket[]} sockets
 * @param {Batch} batch
 * @param {number} rounds
 */
export async function exchange (sockets, batch, rounds) {
  await within(Promise.all(sockets.map((socket) => exchangeOn(socket, batch, rounds))), 'the echoes')
}

/** @returns {Promise<void>} */
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
  let turn = 0
  const timer = setInterval(() => {
    const socket = sockets[turn++ % sockets.length]
    const sentAt = performance.now()
    socket?.once('data', (echo) => times.push(echo.equals(expected) ? performance.now() - sentAt : NaN))
    socket?.write(sent)
  }, interval)
  return () => {
    clearInterval(timer)
    return times
  }
}
