// @ts-check
/*
 * A server that passed its check, and the load that it is measured with: handshakes, or echoes on open connections.
 */
import { createRequest, inspectHandshake, makeHandshakes, stayAwake } from './load.mjs'
import { createBatch, exchange, openConnections } from './open-load.mjs'
import { ServerProcess } from './server-process.mjs'
import { createToken, withWrongSignature } from './tokens.mjs'

/** @typedef {import('./subjects.mjs').Subject & { isOtherBuild?: boolean }} Subject */
/** @typedef {{ keys: ReturnType<typeof import('./tokens.mjs').createKeys>, dist: string, otherDist?: string }} Setting */

/** How many handshakes are under way at once. */
export const CONCURRENCY = 32
/** How many connections echo at once, and how many messages each has under way. */
const ECHO_CONNECTIONS = 100
const ECHO_BATCH = 10

/** What is measured in rounds. */
export class Runner {
  /** @type {ServerProcess} */
  #server

  /** @param {string} name @param {ServerProcess} server */
  constructor (name, server) {
    this.name = name
    this.#server = server
  }

  /** Has the server do so many operations, and itself waits for the last. @param {number} count @returns {Promise<void>} */
  async run (count) {
    throw new Error(`${this.name} cannot be asked for ${count} operations`)
  }

  /** @param {number} count @returns {Promise<number>} the server's CPU time per operation, in microseconds */
  async measure (count) {
    await this.#server.ask('begin')
    await this.run(count)
    const { user, system } = await this.#server.ask(this.endCommand)
    return (user + system) / count
  }

  /** @param {number} count @returns {Promise<import('node:inspector').Profiler.Profile>} */
  async profile (count) {
    await this.#server.ask('beginProfile')
    await this.run(count)
    return this.#server.ask('endProfile')
  }

  async stop () {
    await this.#server.stop()
  }

  /** The command that ends a measurement. */
  get endCommand () {
    return 'end'
  }
}

/** One operation is a handshake, and the end of its connection. */
export class HandshakeRunner extends Runner {
  /** @param {Subject} subject @param {Setting} setting */
  static async start (subject, setting) {
    const { server, token } = await startChecked(subject, setting)
    const request = createRequest(subject.carrier, subject.token === 'wrong' ? withWrongSignature(token) : token)
    return new HandshakeRunner(subject, server, request)
  }

  #load

  constructor ({ name, status }, server, request) {
    super(name, server)
    this.#load = { port: server.port, request, status, concurrency: CONCURRENCY }
  }

  /** @override @param {number} count */
  async run (count) {
    await makeHandshakes({ ...this.#load, count })
  }
}

/** One operation is a message of 64 bytes that comes, and goes back. */
export class EchoRunner extends Runner {
  /** @param {Subject} subject @param {Setting} setting */
  static async start (subject, setting) {
    const { server, token } = await startChecked(subject, setting)
    const requests = Array.from({ length: ECHO_CONNECTIONS }, () => createRequest(subject.carrier, token, '/echo'))
    const sockets = await openConnections({ port: server.port, requests, concurrency: CONCURRENCY })
    return new EchoRunner(subject, server, sockets)
  }

  #sockets
  #batch

  constructor ({ name, message }, server, sockets) {
    super(name, server)
    this.#sockets = sockets
    this.#batch = createBatch(message, ECHO_BATCH)
  }

  /** @override @param {number} count */
  async run (count) {
    const stop = stayAwake()
    await exchange(this.#sockets, this.#batch, count / ECHO_CONNECTIONS / ECHO_BATCH).finally(stop)
  }

  /** @override */
  async stop () {
    for (const socket of this.#sockets) socket.destroy()
    await super.stop()
  }

  /** @override the connections stay open */
  get endCommand () {
    return 'usage'
  }
}

/** @param {Subject} subject @param {Setting} setting */
async function startChecked (subject, setting) {
  const spec = specOf(subject, setting)
  const server = await ServerProcess.start(spec)
  const token = createToken(subject.algorithm, spec.keys)
  await assertGuards(server.port, subject, token)
  return { server, token }
}

/** @param {Subject} subject @param {Setting} setting @returns {import('./contenders.mjs').ServerSpec} */
export function specOf ({ guard, options, algorithm, isOtherBuild }, { keys, dist, otherDist }) {
  return { guard, options, algorithm, keys: keys[algorithm], dist: isOtherBuild === true ? otherDist ?? dist : dist }
}

/** That a server does what it is measured for: the right user with a right token, 401 without. */
async function assertGuards (port, { name, guard, carrier }, token) {
  const by = carrier === 'none' ? 'header' : carrier
  const right = await inspectHandshake(port, createRequest(by, token, '/who'), true)
  const sub = guard === 'none' ? 'nobody' : 'user-1'
  if (right.status !== 101 || right.text !== sub) fail(`${name} answers a right token with ${right.status} for "${right.text}"`)
  if (guard === 'none') return
  for (const request of [createRequest(by, withWrongSignature(token)), createRequest('none', '')]) {
    const { status } = await inspectHandshake(port, request)
    if (status !== 401) fail(`${name} answers ${status} where it should answer 401`)
  }
}

/** @returns {never} */
export function fail (message) {
  throw new Error(message)
}
