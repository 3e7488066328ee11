/*
 * Tens of thousands of connections in one process: real upgrades through Fastify, this package and ws, over streams in memory in place
 * of TCP, because a process may not have so many descriptors.
 */
import { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { clientFrame } from './raw-client'

/** How many upgrades are made in one turn of the event loop. */
const AT_ONCE = 200

const CLOSE = 0x88
const TEXT = 0x81

/** The client's side of a connection: it remembers when the close frame came, and answers it. */
export class MemoryClient extends Duplex {
  /** Texts that the server has sent. */
  readonly texts: string[] = []
  /** When the close frame came, by `performance.now()`; `NaN` before. */
  closedAt = NaN
  /** `<code> <reason>` of the close frame. */
  close = ''
  #isOpen = false
  #partial: Buffer = Buffer.alloc(0)

  override _read (): void {}

  override _write (chunk: Buffer, _encoding: string, done: () => void): void {
    let rest = chunk
    if (!this.#isOpen) {
      const end = chunk.indexOf('\r\n\r\n')
      this.#isOpen = chunk.subarray(0, 12).toString() === 'HTTP/1.1 101'
      rest = chunk.subarray(end + 4)
    }
    if (this.#isOpen) this.#onFrames(rest)
    done()
  }

  override _final (done: () => void): void {
    this.push(null)
    done()
  }

  send (frame: Buffer): void {
    this.push(frame)
  }

  /** Frames of less than 64 KiB, without a mask. */
  #onFrames (bytes: Buffer): void {
    let rest = this.#partial.length === 0 ? bytes : Buffer.concat([this.#partial, bytes])
    while (rest.length > 3) {
      const isLong = rest[1] === 126
      const start = isLong ? 4 : 2
      const length = isLong ? rest.readUInt16BE(2) : rest[1] as number
      if (rest.length < start + length) break
      const payload = rest.subarray(start, start + length)
      if (rest[0] === TEXT) this.texts.push(payload.toString())
      if (rest[0] === CLOSE && Number.isNaN(this.closedAt)) {
        this.closedAt = performance.now()
        this.close = `${payload.readUInt16BE(0)} ${payload.subarray(2).toString()}`
        setImmediate(() => this.push(clientFrame(8, payload.subarray(0, 2))))
      }
      rest = rest.subarray(start + length)
    }
    this.#partial = rest
  }
}

/** Opens so many connections to an app. @param headersOf the headers of one, beside those of the handshake */
export async function openMany (app: FastifyInstance, url: string, count: number, headersOf: (index: number) => Record<string, string>): Promise<MemoryClient[]> {
  const clients: MemoryClient[] = []
  while (clients.length < count) {
    const client = new MemoryClient()
    const headers = {
      ...headersOf(clients.length),
      host: 'localhost',
      connection: 'upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ=='
    }
    app.server.emit('upgrade', { method: 'GET', url, headers, httpVersion: '1.1' }, client, Buffer.alloc(0))
    clients.push(client)
    if (clients.length % AT_ONCE === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  return clients
}
