// @ts-check
/*
 * A server that passed its check, and the load that it is measured with: handshakes, echoes on open connections, or all its
 * clients coming back at once.
 */
import { createBatch } from './frames.mjs'
import { makeHandshakes, stayAwake } from './load.mjs'
import { exchange, openConnections } from './open-load.mjs'
import { createScript } from './scripts.mjs'
import { issueTickets, scriptOf, startChecked } from './subject.mjs'

/** @typedef {import('./subject.mjs').Subject} Subject */
/** @typedef {import('./subject.mjs').Setting} Setting */
/** @typedef {import('./subject.mjs').Started} Started */
/** @typedef {{ cpu: number, wall: number }} Figures  microseconds of the server's CPU time, and of the clock, for each operation */

/** How many handshakes are under way at once. */
export const CONCURRENCY = 32
/** How many connections echo at once, and how many messages each has under way. */
const ECHO_CONNECTIONS = 100
const ECHO_BATCH = 10

/** How many of a storm connect at once: fewer than the kernel keeps for a server, so that nobody has to come again a second later. */
const AT_ONCE = 4000

/** What is measured in rounds. */
export class Runner {
  /** @param {Started} started */
  constructor (started) {
    this.name = started.subject.name
    this.started = started
  }

  get server () {
    return this.started.server
  }

  /** What is needed for so many operations, and not measured. @param {number} count @returns {Promise<void>} */
  async prepare (count) {}

  /** Has the server do so many operations, and itself waits for the last. @param {number} count @returns {Promise<void>} */
  async run (count) {
    throw new Error(`${this.name} cannot be asked for ${count} operations`)
  }

  /** @param {number} count */
  async warmUp (count) {
    await this.prepare(count)
    await this.run(count)
    await this.end(count)
  }

  /** @param {number} count @returns {Promise<Figures>} */
  async measure (count) {
    await this.prepare(count)
    await this.server.ask('begin')
    const startedAt = performance.now()
    await this.run(count)
    const wall = (performance.now() - startedAt) * 1000
    const { user, system } = await this.end(count)
    return { cpu: (user + system) / count, wall: wall / count }
  }

  /** The usage of all that was run, once it is over on the server's side too. @param {number} count @returns {Promise<NodeJS.CpuUsage>} */
  end (count) {
    return this.server.ask('end')
  }

  /** @param {number} count @returns {Promise<import('node:inspector').Profiler.Profile>} */
  async profile (count) {
    await this.prepare(count)
    await this.server.ask('beginProfile')
    await this.run(count)
    return this.server.ask('endProfile')
  }

  async stop () {
    await this.server.stop()
  }
}

/** One operation is a handshake, and the end of its connection. */
export class HandshakeRunner extends Runner {
  /** @param {Subject} subject @param {Setting} setting */
  static async start (subject, setting) {
    return new HandshakeRunner(await startChecked(subject, setting))
  }

  /** @type {import('./scripts.mjs').Script[]} */
  #scripts = []

  /** A ticket is good for one handshake. @override @param {number} count */
  async prepare (count) {
    const { carrier } = this.started.subject
    if (carrier === 'ticket') {
      this.#scripts = (await issueTickets(this.server, count)).map((ticket) => createScript({ carrier, isAccepted: true }, ticket))
    } else if (this.#scripts.length === 0) {
      this.#scripts = [scriptOf(this.started)]
    }
  }

  /** @override @param {number} count */
  async run (count) {
    await makeHandshakes({ port: this.server.port, scripts: this.#scripts, count, concurrency: CONCURRENCY })
  }
}

/** A runner whose connections stay open. */
class OpenRunner extends Runner {
  /** @param {Started} started @param {import('node:net').Socket[]} sockets */
  constructor (started, sockets) {
    super(started)
    this.sockets = sockets
  }

  /** @override */
  async stop () {
    for (const socket of this.sockets) socket.destroy()
    await super.stop()
  }
}

/** One operation is a message of 64 bytes that comes, and goes back. */
export class EchoRunner extends OpenRunner {
  /** @param {Subject} subject @param {Setting} setting */
  static async start (subject, setting) {
    return await EchoRunner.on(await startChecked(subject, setting))
  }

  /** On a server that is there. @param {Started} started */
  static async on (started) {
    const scripts = Array.from({ length: ECHO_CONNECTIONS }, () => scriptOf(started, undefined, '/echo'))
    const sockets = await openConnections({ port: started.server.port, scripts, concurrency: CONCURRENCY })
    return new EchoRunner(started, sockets)
  }

  #batch = createBatch(this.started.subject.message, ECHO_BATCH)

  /** @override @param {number} count */
  async run (count) {
    const stop = stayAwake()
    await exchange(this.sockets, this.#batch, count / ECHO_CONNECTIONS / ECHO_BATCH).finally(stop)
  }

  /** The connections stay open. @override @param {number} count */
  end (count) {
    return this.server.ask('usage')
  }
}

/** One operation is a client that is cut off and comes back, all of them at the same time, each with the token of before. */
export class StormRunner extends OpenRunner {
  /** @param {Subject} subject @param {Setting} setting */
  static async start (subject, setting) {
    return new StormRunner(await startChecked(subject, setting), [])
  }

  /** @type {import('./scripts.mjs').Script[]} */
  #scripts = []

  /** @override @param {number} count */
  async prepare (count) {
    if (this.sockets.length === count) return
    this.#scripts = Array.from({ length: count }, (_, i) => scriptOf(this.started, `user-${i}`))
    const stop = stayAwake()
    this.sockets = await openConnections({ port: this.server.port, scripts: this.#scripts, concurrency: CONCURRENCY }).finally(stop)
  }

  /** @override @param {number} count */
  async run (count) {
    for (const socket of this.sockets) socket.destroy()
    const stop = stayAwake()
    this.sockets = await openConnections({ port: this.server.port, scripts: this.#scripts, concurrency: Math.min(count, AT_ONCE) }).finally(stop)
  }

  /** So that not all contenders hold as many at the same time. @override @param {number} count */
  async end (count) {
    const usage = await this.server.ask('settle', { count })
    for (const socket of this.sockets) socket.destroy()
    this.sockets = []
    await this.server.ask('end')
    return usage
  }
}

/** @returns {never} */
export function fail (message) {
  throw new Error(message)
}
