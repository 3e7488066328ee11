// @ts-check
/*
 * A server that holds many connections, and what an operation costs it beside them. The clients that are idle are in processes of their
 * own, so the load is as fast beside many as beside few.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { stayAwake } from '../load.mjs'
import { awaitGoodbyes, openConnections } from '../open-load.mjs'
import { CONCURRENCY, EchoRunner, HandshakeRunner } from '../runner.mjs'
import { scriptOf } from '../subject.mjs'
import { Crowd } from './crowd.mjs'

/** Handshakes before the connections are opened. */
const WARM_UP = 6000
/** Operations of a measurement. */
const HANDSHAKES = 2000
const ECHOES = 20_000
/** Users who are disconnected, one after the other. Each has one connection, beside those that stay. */
const LEAVERS = Array.from({ length: 200 }, (_, i) => `leaver-${i}`)
const DISCONNECTED = 3003

export class CrowdedServer {
  #started
  #setting
  #handshakes
  #leavers
  /** @type {EchoRunner | undefined} */
  #talkers
  /** @type {Crowd | undefined} */
  #crowd

  /** @param {import('../subject.mjs').Started} started @param {import('../subject.mjs').Setting} setting @param {number} connections */
  constructor (started, setting, connections) {
    this.connections = connections
    this.#started = started
    this.#setting = setting
    this.#handshakes = new HandshakesBeside(started)
    this.#leavers = LEAVERS.map((sub) => scriptOf(started, sub))
  }

  /** Opens all connections on a server that is warm: some for echoes, and the others idle. */
  async fill () {
    await this.#handshakes.warmUp(WARM_UP)
    this.#talkers = await EchoRunner.on(this.#started)
    this.#crowd = new Crowd(this.#started, this.#setting, { tcp: this.connections - this.#talkers.sockets.length, inMemory: 0 })
    await this.#crowd.open()
    this.#handshakes.beside = this.connections
  }

  /** Whether it knows who is connected. */
  get canDisconnect () {
    return this.#started.subject.guard !== 'none'
  }

  /** Microseconds of a handshake. */
  async accepted () {
    return (await this.#handshakes.measure(HANDSHAKES)).cpu
  }

  /** Microseconds of an echo. */
  async echo () {
    return (await this.#talkers?.measure(ECHOES))?.cpu ?? NaN
  }

  /** Microseconds to disconnect a user. */
  async disconnect () {
    const { server } = this.#started
    const stop = stayAwake()
    try {
      const sockets = await openConnections({ port: server.port, scripts: this.#leavers, concurrency: CONCURRENCY })
      await server.ask('settle', { count: this.connections + LEAVERS.length })
      // What the server greeted them with has come too, but may not have been read yet.
      await nextTurn()
      const asked = { subs: LEAVERS, left: this.connections, isOneByOne: true }
      const [{ user, system }] = await Promise.all([server.ask('disconnect', asked), awaitGoodbyes(sockets, DISCONNECTED)])
      return (user + system) / LEAVERS.length
    } finally {
      stop()
    }
  }

  /** The server first: it need not see all its clients leave. */
  async stop () {
    await this.#started.server.stop()
    await this.#crowd?.stop()
  }
}

/** Handshakes beside connections that stay open. */
class HandshakesBeside extends HandshakeRunner {
  beside = 0

  /** @override */
  end () {
    return this.server.ask('settle', { count: this.beside })
  }
}
