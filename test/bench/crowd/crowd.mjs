// @ts-check
/*
 * The parent's side of all clients: load processes that hold some each, on the core of this process, and those in the memory of the
 * server, if there are any.
 */
import { fork } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { AskedProcess } from '../asked-process.mjs'
import { fail } from '../runner.mjs'
import { connectionsPerProcess, PER_ADDRESS } from './limits.mjs'

const LOAD = fileURLToPath(new URL('load-process.mjs', import.meta.url))

/** So many processes hold the clients at least, and so many clients one of them at most. */
const MIN_PROCESSES = 2
const MAX_CLIENTS = 50_000
/** How many handshakes each of them has under way. */
const CONCURRENCY = 24
/** How long opening may take, in milliseconds: so much, and so much for each client. */
const OPEN_TIMEOUT = 60_000
const OPEN_TIMEOUT_EACH = 10
/** How often the clients are asked whether all were told, in milliseconds. */
const POLL = 50

/** @typedef {{ tcp: number, inMemory: number }} Size  how many clients come by TCP, and how many are in the memory of the server */

export class Crowd {
  /** Each filling has addresses of its own: the ports of another crowd are taken, and those of a filling before may not be free yet. */
  static #fillings = 0

  /** @type {AskedProcess[]} */
  #processes = []
  /** @type {import('../subject.mjs').Started} */
  #started
  /** @type {Size} */
  #size
  #keys

  /** @param {import('../subject.mjs').Started} started @param {import('../subject.mjs').Setting} setting @param {Size} size */
  constructor (started, { keys }, size) {
    this.#started = started
    this.#size = size
    this.#keys = keys[started.subject.algorithm]
    const count = Math.max(MIN_PROCESSES, Math.ceil(size.tcp / Math.min(connectionsPerProcess(), MAX_CLIENTS)))
    for (let i = 0; i < count; i++) this.#processes.push(new AskedProcess(fork(LOAD)))
  }

  get size () {
    return this.#size.tcp + this.#size.inMemory
  }

  /** Opens all of them. @param {number} [exp] of their tokens, in seconds since the epoch */
  async open (exp) {
    const { subject: { carrier, algorithm, path }, server } = this.#started
    const filling = ++Crowd.#fillings
    const share = Math.ceil(this.#size.tcp / this.#processes.length)
    await Promise.all(this.#processes.map(async (one, i) => {
      const mine = Math.min(share, this.#size.tcp - i * share)
      for (let at = 0; at < mine; at += PER_ADDRESS) {
        const from = `127.${filling}.${i}.${1 + at / PER_ADDRESS}`
        const count = Math.min(PER_ADDRESS, mine - at)
        const opening = { port: server.port, from, first: i * share + at, count, concurrency: CONCURRENCY, carrier, algorithm, path, keys: this.#keys, exp }
        await one.ask('open', opening, OPEN_TIMEOUT + count * OPEN_TIMEOUT_EACH)
      }
    }))
    const { inMemory } = this.#size
    if (inMemory > 0) {
      const opening = { first: this.#size.tcp, count: inMemory, carrier, algorithm, keys: this.#keys, exp }
      await server.ask('openInMemory', opening, OPEN_TIMEOUT + inMemory * OPEN_TIMEOUT_EACH)
    }
  }

  /** From now on each is to be closed with this code. @param {number} code */
  async expect (code) {
    await Promise.all(this.#all().map((ask) => ask('expect', code)))
  }

  /**
   * Waits until each was told that it is closed.
   *
   * @param {number} timeout in milliseconds
   * @returns {Promise<{ first: number, last: number }>} when the first and the last were told (ms since the epoch)
   */
  async goodbyes (timeout) {
    const deadline = Date.now() + timeout
    while (true) {
      /** @type {import('./load-process.mjs').Goodbyes[]} */
      const all = await Promise.all(this.#all().map((ask) => ask('goodbyes')))
      const told = all.reduce((sum, one) => sum + one.told, 0)
      if (told === this.size) return { first: Math.min(...all.filter((one) => one.told > 0).map(({ first }) => first)), last: Math.max(...all.map(({ last }) => last)) }
      if (Date.now() > deadline) fail(`${told} of ${this.size} were told within ${timeout} ms`)
      await sleep(POLL)
    }
  }

  /** All are cut off. */
  async leave () {
    await Promise.all(this.#all().map((ask) => ask('leave')))
  }

  async stop () {
    await Promise.all(this.#processes.map((one) => one.stop()))
  }

  /** @returns {((command: string, argument?: unknown) => Promise<any>)[]} */
  #all () {
    const { server } = this.#started
    const remote = this.#processes.map((one) => (/** @type {string} */ command, /** @type {unknown} */ argument) => one.ask(command, argument))
    return this.#size.inMemory === 0 ? remote : [...remote, (command, argument) => server.ask(`${command}InMemory`, argument)]
  }
}
