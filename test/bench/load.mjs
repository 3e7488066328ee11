// @ts-check
/*
 * The load of handshakes: written by hand on raw sockets, as little work as possible for each, so that one process can keep
 * a server on another core busy.
 */
import { createConnection } from 'node:net'

/** How long anything here may take before it counts as hung, in milliseconds. */
const TIMEOUT = 30_000

/** @typedef {'none' | 'header' | 'query' | 'subprotocol' | 'cookie'} Carrier  where the token is in the request */

/**
 * The bytes of an opening handshake (RFC 6455, 4.1). The token comes first, as from clients that add it by hand: what is
 * taken out of the middle costs more than what is taken off the end.
 *
 * @param {Carrier} carrier
 * @param {string} token
 */
export function createRequest (carrier, token, path = '/chat') {
  const lines = {
    none: [],
    query: [],
    header: [`Authorization: Bearer ${token}`],
    subprotocol: [`Sec-WebSocket-Protocol: chat, bearer, ${token}`],
    cookie: [`Cookie: token=${token}`]
  }[carrier]
  return [
    `GET ${carrier === 'query' ? `${path}?token=${token}` : path} HTTP/1.1`,
    ...lines,
    'Host: 127.0.0.1',
    'User-Agent: bench',
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    '', ''
  ].join('\r\n')
}

/**
 * Makes handshakes, so many at a time, each on a connection of its own that is closed before the next begins: on this
 * side with FIN, and it counts when the server has closed too.
 *
 * @param {{ port: number, request: string, status: number, count: number, concurrency: number }} what
 */
export async function makeHandshakes ({ port, request, status, count, concurrency }) {
  let left = count
  const work = async () => {
    while (left-- > 0) await handshake(port, request, status)
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

/** @returns {Promise<void>} resolved when the connection is closed on both sides */
function handshake (port, request, status) {
  return new Promise((resolve, reject) => {
    const expected = `HTTP/1.1 ${status} `
    let answer = ''
    const socket = createConnection(port, '127.0.0.1')
    socket.setEncoding('latin1')
    socket.on('data', (chunk) => {
      answer += chunk
      if (answer.includes('\r\n\r\n')) socket.end()
    })
    socket.on('error', reject)
    socket.on('close', () => {
      if (answer.startsWith(expected)) resolve()
      else reject(new Error(`expected ${status}, got: ${answer.slice(0, 200)}`))
    })
    socket.write(request)
  })
}

/**
 * The answer to one handshake: its status, and the first text frame where one follows.
 *
 * @returns {Promise<{ status: number, text: string }>}
 */
export function inspectHandshake (port, request, expectsText = false) {
  const answered = new Promise((resolve, reject) => {
    let bytes = Buffer.alloc(0)
    const socket = createConnection(port, '127.0.0.1', () => socket.write(request))
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('closed without an answer')))
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk])
      const end = bytes.indexOf('\r\n\r\n')
      if (end === -1) return
      const status = Number(bytes.toString('latin1', 9, 12))
      // An unmasked, unfragmented text frame of less than 126 bytes (RFC 6455, 5.2).
      const frame = bytes.subarray(end + 4)
      const length = frame[1] ?? Infinity
      if (expectsText && status === 101 && frame.length < 2 + length) return
      resolve({ status, text: expectsText && status === 101 ? frame.toString('utf8', 2, 2 + length) : '' })
      socket.destroy()
    })
  })
  return within(answered, 'an answer')
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
