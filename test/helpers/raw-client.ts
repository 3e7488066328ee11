/*
 * A client that sends what no library would: requests written by hand over TCP. It keeps its half of the connection
 * open until it is told otherwise.
 */
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import type { Test } from 'tap'

export interface RequestSettings {
  method?: string
  path?: string
  version?: string
  /** Replaces headers of a good handshake: a list is sent as many headers, `undefined` is left out. */
  headers?: Record<string, string | string[] | undefined>
  body?: string
}

export interface RawResponse {
  readonly status: number
  /** In lower case; what was sent more than once is joined by a comma. */
  readonly headers: Record<string, string>
  readonly body: string
  /** All bytes up to the end of the body. */
  readonly text: string
}

/** A frame from the server. */
export interface Frame {
  readonly opcode: number
  readonly payload: Buffer
}

/** How long anything that is waited for may take, in milliseconds. */
const TIMEOUT = 60_000

const GOOD_HEADERS: Record<string, string | string[] | undefined> = {
  host: 'localhost',
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ=='
}

/** The text of a request; without settings it is a good handshake. */
export function requestText ({ method = 'GET', path = '/', version = '1.1', headers = {}, body = '' }: RequestSettings = {}): string {
  const lines = Object.entries({ ...GOOD_HEADERS, ...headers }).flatMap(([name, value]) =>
    value === undefined ? [] : [value].flat().map((one) => `${name}: ${one}\r\n`))
  return `${method} ${path} HTTP/${version}\r\n${lines.join('')}\r\n${body}`
}

/** The text of a request without any of the headers of a handshake. */
export function plainText ({ headers, ...settings }: RequestSettings = {}): string {
  const none = { connection: undefined, upgrade: undefined, 'sec-websocket-version': undefined, 'sec-websocket-key': undefined }
  return requestText({ ...settings, headers: { ...none, ...headers } })
}

export class RawClient {
  readonly socket: Socket
  /** Resolves when the connection is gone, whoever ended it. */
  readonly closed: Promise<void>
  /** Resolves when the server has closed its half. */
  readonly ended: Promise<void>
  /** Why the connection broke, if it did. */
  error: NodeJS.ErrnoException | null = null
  #received = Buffer.alloc(0)
  #read = 0
  #listeners: Array<() => void> = []

  constructor (socket: Socket) {
    this.socket = socket
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()))
    this.ended = Promise.race([this.closed, new Promise<void>((resolve) => { socket.once('end', resolve) })])
    socket.on('error', (error) => { this.error = error })
    socket.on('data', (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk])
      this.#wake()
    })
    socket.on('close', () => this.#wake())
    socket.on('end', () => this.#wake())
  }

  /** Connects, and is destroyed when the test ends. */
  static async open (t: Test, port: number): Promise<RawClient> {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    t.teardown(() => socket.destroy())
    const client = new RawClient(socket)
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject))
    return client
  }

  /** All that came, as text. */
  get text (): string {
    return this.#received.toString('latin1')
  }

  /** What came after all that was asked for. */
  get rest (): Buffer {
    return this.#received.subarray(this.#read)
  }

  get isEnded (): boolean {
    return this.socket.readableEnded || this.socket.destroyed
  }

  send (data: string | Buffer): this {
    this.socket.write(typeof data === 'string' ? Buffer.from(data, 'latin1') : data)
    return this
  }

  upgrade (settings: RequestSettings = {}): this {
    return this.send(requestText(settings))
  }

  /** The next answer, complete with its body. Rejects where the server closes before. */
  async response (hasBody = true): Promise<RawResponse> {
    await this.#until(() => this.rest.includes('\r\n\r\n'), 'an answer')
    const start = this.rest
    const end = start.indexOf('\r\n\r\n') + 4
    const [first = '', ...lines] = start.subarray(0, end - 4).toString('latin1').split('\r\n')
    const headers: Record<string, string> = {}
    for (const line of lines) {
      const name = line.slice(0, line.indexOf(':')).toLowerCase()
      const value = line.slice(line.indexOf(':') + 1).trim()
      headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`
    }
    const length = hasBody ? Number(headers['content-length'] ?? 0) : 0
    await this.#until(() => this.rest.length >= end + length, 'a complete body')
    const body = this.rest.subarray(end, end + length).toString()
    const text = this.rest.subarray(0, end + length).toString('latin1')
    this.#read += end + length
    return { status: Number(first.split(' ')[1]), headers, body, text }
  }

  /** The next frame. Rejects where the server closes before. */
  async frame (): Promise<Frame> {
    await this.#until(() => frameLength(this.rest) <= this.rest.length, 'a frame')
    const { rest } = this
    const length = frameLength(rest)
    this.#read += length
    return { opcode: (rest[0] ?? 0) & 15, payload: rest.subarray(rest[1] === 126 ? 4 : 2, length) }
  }

  /** The next frame, which has to be a close frame. The plugin may say before it that the connection is open, and when to come back. */
  async close (): Promise<{ code: number, reason: string }> {
    let { opcode, payload } = await this.frame()
    while (opcode === 1 && /^\{"type":"auth\.(?:ok|retry)"/.test(payload.toString())) ({ opcode, payload } = await this.frame())
    if (opcode !== 8) throw new Error(`not a close frame, but opcode ${opcode}`)
    return { code: payload.readUInt16BE(0), reason: payload.subarray(2).toString() }
  }

  async #until (isTrue: () => boolean, what: string): Promise<void> {
    let isLate = false
    const timer = setTimeout(() => { isLate = true; this.#wake() }, TIMEOUT)
    try {
      while (!isTrue()) {
        if (this.isEnded) throw new Error(`the server closed before ${what}: ${JSON.stringify(this.rest.toString('latin1'))}`)
        if (isLate) throw new Error(`the server did not send ${what} within ${TIMEOUT} ms`)
        await new Promise<void>((resolve) => { this.#listeners.push(resolve) })
      }
    } finally {
      clearTimeout(timer)
    }
  }

  #wake (): void {
    const listeners = this.#listeners
    this.#listeners = []
    for (const listener of listeners) listener()
  }
}

/** How many bytes the first frame has; infinite where it cannot be told yet. Servers do not mask. */
function frameLength (bytes: Buffer): number {
  const [, length = 0] = bytes
  if (bytes.length < 2) return Infinity
  if (length < 126) return 2 + length
  return bytes.length < 4 ? Infinity : 4 + bytes.readUInt16BE(2)
}

/** A frame as a client sends it: masked, with zeros. */
export function clientFrame (opcode: number, payload: Buffer | string): Buffer {
  const data = Buffer.from(payload)
  const head = data.length < 126
    ? Buffer.from([0x80 | opcode, 0x80 | data.length])
    : Buffer.from([0x80 | opcode, 0xFE, data.length >> 8, data.length & 255])
  return Buffer.concat([head, Buffer.alloc(4), data])
}

/** Sends one handshake over a connection of its own. */
export async function upgrade (t: Test, port: number, settings: RequestSettings = {}): Promise<RawClient & { answer: RawResponse }> {
  const client = await RawClient.open(t, port)
  const answer = await client.upgrade(settings).response(settings.method !== 'HEAD')
  return Object.assign(client, { answer })
}
