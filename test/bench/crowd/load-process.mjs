// @ts-check
/*
 * Holds many clients in a process of its own, with as little as possible for each: a socket that reads into a buffer which all of them
 * share, and answers a close frame as clients do.
 */
import { createConnection } from 'node:net'
import { answerParent } from '../asked-process.mjs'
import { CLOSE, maskedFrame } from '../frames.mjs'
import { createScript } from '../scripts.mjs'
import { createToken } from '../tokens.mjs'

/** @typedef {{ port: number, from: string, first: number, count: number, concurrency: number, carrier: import('../scripts.mjs').Carrier, algorithm: import('../tokens.mjs').Algorithm, path: string, keys: import('../tokens.mjs').Keys, exp?: number }} Opening  `from` is the address of the clients, whose users are numbered */
/** @typedef {{ told: number, first: number, last: number }} Goodbyes  how many were told, and when the first and the last were (ms since the epoch) */
/** @typedef {import('node:net').Socket & { settle?: ((error?: Error) => void) | null }} Client */

const END_OF_HEAD = '\r\n\r\n'

/** @type {Set<Client>} */
const clients = new Set()
/** What is under way. */
const state = { code: 0, told: 0, first: 0, last: 0, /** @type {string[]} */ unexpected: [] }

answerParent({
  /** Opens clients one after the other, so many at once. @param {Opening} opening */
  async open (opening) {
    let next = 0
    const work = async () => {
      while (next < opening.count) await openOne(opening, next++)
    }
    await Promise.all(Array.from({ length: opening.concurrency }, work))
    return clients.size
  },

  /** From now on a close frame is expected, with this code. @param {number} code */
  expect (code) {
    Object.assign(state, { code, told: 0, first: 0, last: 0, unexpected: [] })
  },

  /** @returns {Goodbyes} */
  goodbyes () {
    if (state.unexpected.length > 0) throw new Error(`${state.unexpected.length} unexpected: ${state.unexpected[0]}`)
    return { told: state.told, first: state.first, last: state.last }
  },

  /** Cuts all of them off. */
  leave () {
    for (const client of clients) client.destroy()
    clients.clear()
  }
})

/** @param {Opening} opening @returns {Promise<void>} */
function openOne ({ port, from, first, carrier, algorithm, path, keys, exp }, index) {
  const token = carrier === 'none' ? '' : createToken(algorithm, keys, `user-${first + index}`, exp)
  const { request } = createScript({ carrier, isAccepted: true }, token, path)
  return new Promise((resolve, reject) => {
    /** @type {Client} */
    const client = createConnection({ port, host: '127.0.0.1', localAddress: from, noDelay: true, onread: { buffer: shared, callback: onRead } })
    client.settle = (error) => {
      client.settle = null
      if (error === undefined) resolve()
      else reject(error)
    }
    client.on('error', onError).on('close', onClose)
    client.write(request)
    clients.add(client)
  })
}

/** What each read is in, for the time of one call. */
const shared = Buffer.alloc(4096)

/** @this {Client} @param {number} length @param {Buffer} buffer */
function onRead (length, buffer) {
  const chunk = buffer.subarray(0, length)
  if (this.settle) {
    const answer = chunk.toString('latin1')
    // A server may greet its clients: the greeting may come in the same read.
    this.settle(answer.startsWith('HTTP/1.1 101 ') && answer.includes(END_OF_HEAD) ? undefined : new Error(`expected 101, got: ${answer}`))
  } else if (chunk[0] === CLOSE && chunk.readUInt16BE(2) === state.code) {
    this.write(maskedFrame(CLOSE, chunk.subarray(2)))
    state.last = Date.now()
    state.first ||= state.last
    state.told++
  } else {
    state.unexpected.push(chunk.toString('latin1'))
  }
  return true
}

/** @this {Client} @param {Error} error */
function onError (error) {
  if (this.settle) this.settle(error)
  else if (clients.has(this)) state.unexpected.push(error.message)
}

/** @this {Client} */
function onClose () {
  this.settle?.(new Error('closed'))
  clients.delete(this)
}
