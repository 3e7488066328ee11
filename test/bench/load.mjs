// @ts-check
/*
 * The load of handshakes: written by hand on raw sockets, as little work as possible for each, so that one process can keep
 * a server on another core busy.
 */
import { createConnection } from 'node:net'

/** How long anything here may take before it counts as hung, in milliseconds. */
const TIMEOUT = 120_000

/** @typedef {import('./scripts.mjs').Script} Script */

/**
 * Makes handshakes, so many at a time, each on a connection of its own that is closed before the next begins: on this
 * side with FIN, and it counts when the server has closed too.
 *
 * @param {{ port: number, scripts: Script[], count: number, concurrency: number }} what the scripts are taken in turn
 */
export async function makeHandshakes ({ port, scripts, count, concurrency }) {
  let made = 0
  const work = async () => {
    while (made < count) await handshake(port, /** @type {Script} */ (scripts[made++ % scripts.length]))
  }
  const stop = stayAwake()
  await within(Promise.all(Array.from({ length: concurrency }, work)), 'the handshakes').finally(stop)
}

/**
 * Keeps this process from ever waiting for something to do. One that sleeps is woken by whoever sends to it, which costs
 * the writing server 20 us on a virtual machine; and the slower the server, the more often everybody waits for it.
 *
 * @returns {() => void} lets it sleep again
 */
export function stayAwake () {
  let turn = setImmediate(again)
  function again () { turn = setImmediate(again) }
  return () => clearImmediate(turn)
}

/** @param {number} port @param {Script} script @returns {Promise<void>} resolved when the connection is closed on both sides */
export function handshake (port, script) {
  return new Promise((resolve, reject) => {
    const socket = createConnection(port, '127.0.0.1')
    let isDone = false
    const heard = play(socket, script, () => { isDone = true; socket.end() })
    socket.on('error', reject)
    socket.on('close', () => {
      if (isDone && heard().startsWith(`HTTP/1.1 ${script.status} `)) resolve()
      else reject(new Error(`expected ${script.status} and ${script.turns.length} turns, got: ${heard()}`))
    })
  })
}

/**
 * Says what the script says.
 *
 * @param {import('node:net').Socket} socket
 * @param {Script} script
 * @param {() => void} onDone
 * @returns {() => string} what has come
 */
export function play (socket, { request, turns }, onDone) {
  let answer = ''
  let turn = 0
  let at = 0
  socket.on('data', onData)
  socket.write(request)
  function onData (/** @type {Buffer} */ chunk) {
    answer += chunk.toString('latin1')
    for (let next = turns[turn]; next !== undefined; next = turns[turn]) {
      const found = answer.indexOf(next.until, at)
      if (found === -1) return
      at = found + next.until.length
      turn++
      if (next.say !== null) socket.write(next.say)
    }
    socket.off('data', onData)
    onDone()
  }
  return () => answer
}

/** @template T @param {Promise<T>} promise @param {string} what @returns {Promise<T>} */
export function within (promise, what) {
  /** @type {NodeJS.Timeout} */
  let timer
  const timeout = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${TIMEOUT} ms`)), TIMEOUT)
  })
  return Promise.race([promise, timeout]).finally(() => clearTimeout(timer))
}
