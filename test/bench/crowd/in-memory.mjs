// @ts-check
/*
 * Clients in the process of the server, over streams in memory in place of TCP: for those that have no descriptor left. The upgrades go
 * through the same listeners. What these clients do themselves counts as the server's.
 */
import { Duplex } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { CLOSE, maskedFrame } from '../frames.mjs'
import { createToken } from '../tokens.mjs'

/** How many upgrades are begun in one turn of the event loop. */
const AT_ONCE = 20
/** In how many turns the last of them are open. */
const MOST_TURNS = 1000
/** How many close frames are answered in one turn: those of a network come bit by bit too. */
const ANSWERS = 64

const NOTHING = Buffer.alloc(0)

export class InMemoryClients {
  /** @type {Set<Client>} */
  #clients = new Set()
  /** Those that have to answer a close frame. @type {{ client: Client, answer: Buffer }[]} */
  #answers = []
  #answered = 0
  #open = 0
  #code = 0
  #told = 0
  #first = 0
  #last = 0
  #unexpected = ''

  /** @param {import('node:http').Server} server @param {{ first: number, count: number, algorithm: import('../tokens.mjs').Algorithm, keys: import('../tokens.mjs').Keys, exp?: number }} opening */
  async open (server, { first, count, algorithm, keys, exp }) {
    for (let i = 0; i < count; i++) {
      const client = new Client(this)
      const headers = {
        authorization: `Bearer ${createToken(algorithm, keys, `user-${first + i}`, exp)}`,
        host: '127.0.0.1',
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ=='
      }
      this.#clients.add(client)
      server.emit('upgrade', { method: 'GET', url: '/chat', headers, httpVersion: '1.1' }, client, NOTHING)
      if (i % AT_ONCE === 0) await nextTurn()
    }
    for (let turns = 0; this.#open < this.#clients.size; turns++) {
      if (turns > MOST_TURNS) throw new Error(`${this.#clients.size - this.#open} in memory did not open`)
      await nextTurn()
    }
  }

  onOpen () {
    this.#open++
  }

  /** @param {number} code */
  expect (code) {
    this.#code = code
    this.#told = this.#first = this.#last = 0
  }

  goodbyes () {
    if (this.#unexpected !== '') throw new Error(`unexpected: ${this.#unexpected}`)
    return { told: this.#told, first: this.#first, last: this.#last }
  }

  leave () {
    for (const client of this.#clients) client.destroy()
    this.#clients.clear()
    this.#open = 0
  }

  /** @param {Client} client @param {Buffer} frame */
  onFrame (client, frame) {
    if (frame[0] !== CLOSE || frame.readUInt16BE(2) !== this.#code) {
      this.#unexpected = frame.toString('latin1')
      return
    }
    this.#last = Date.now()
    this.#first ||= this.#last
    this.#told++
    if (this.#answers.length === 0) setImmediate(this.#answer)
    this.#answers.push({ client, answer: maskedFrame(CLOSE, frame.subarray(2)) })
    this.#clients.delete(client)
    this.#open--
  }

  #answer = () => {
    const until = Math.min(this.#answered + ANSWERS, this.#answers.length)
    for (const { client, answer } of this.#answers.slice(this.#answered, until)) client.push(answer)
    this.#answered = until
    if (until < this.#answers.length) return setImmediate(this.#answer)
    this.#answers = []
    this.#answered = 0
  }
}

/** The server's socket, which is its client too. */
class Client extends Duplex {
  #all
  #isOpen = false

  /** @param {InMemoryClients} all */
  constructor (all) {
    super()
    this.#all = all
  }

  /** @override */
  _read () {}

  /** @override @param {Buffer} chunk @param {string} encoding @param {() => void} done */
  _write (chunk, encoding, done) {
    this.#onBytes(chunk)
    done()
  }

  /** A frame is written in two parts. @override @param {{ chunk: Buffer }[]} chunks @param {() => void} done */
  _writev (chunks, done) {
    this.#onBytes(Buffer.concat(chunks.map(({ chunk }) => chunk)))
    done()
  }

  /** @override @param {() => void} done */
  _final (done) {
    this.push(null)
    done()
  }

  /** @param {Buffer} bytes */
  #onBytes (bytes) {
    if (this.#isOpen) return this.#all.onFrame(this, bytes)
    this.#isOpen = bytes.toString('latin1', 0, 12) === 'HTTP/1.1 101'
    if (this.#isOpen) this.#all.onOpen()
  }
}
