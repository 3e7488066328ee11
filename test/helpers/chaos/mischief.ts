/*
 * A client that authenticates, renews, stalls, lies and leaves wherever it likes.
 */
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type { Dice } from './dice'
import { SPOILT } from './ledger'
import { clientFrame } from '../raw-client'

/** What one client says. */
export interface Part {
  /** Its opening handshake. */
  readonly request: string
  /** Whether its token is to come with the first message. */
  readonly hasFirstMessage: boolean
  /** A token, good or not. */
  readonly token: () => string
  /** Whether it also sends what is no WebSocket, nor HTTP. */
  readonly isWild: boolean
}

const MARK = `x-client: ${SPOILT}`

/** Before its first step it leaves, or goes on. */
type Opened = 'left' | 'opened'

export class Mischief {
  readonly #dice: Dice
  readonly #socket: Socket
  readonly #part: Part
  /** Whether there was a server. */
  readonly #isThere: Promise<boolean>
  /** Whether its handshake was sent once, complete and with nothing else. */
  isPlain = true
  /** All that came, as latin1. */
  received = ''

  constructor (port: number, dice: Dice, part: Part) {
    this.#dice = dice
    this.#part = part
    this.#socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    this.#socket.setEncoding('latin1')
    this.#socket.on('error', () => {}).on('data', (text: string) => { this.received += text })
    this.#isThere = new Promise((resolve) => { this.#socket.once('connect', () => resolve(true)).once('close', () => resolve(false)) })
  }

  /** @returns whether there was a server, which there is not while it is restarted */
  async run (): Promise<boolean> {
    if (!await this.#isThere) return false
    await this.#act()
    return true
  }

  async #act (): Promise<void> {
    const dice = this.#dice
    if (await this.#open() === 'left') return
    if (dice.chance(0.7)) await this.#waitFor(' 101 ')
    const { hasFirstMessage } = this.#part
    const first = hasFirstMessage ? this.#firstMessage() : []
    if (hasFirstMessage && first.length === 0 && dice.chance(0.5)) await pause(400)
    if (dice.chance(first.length === 0 ? 0.05 : 0.3)) this.#send(Buffer.concat([...first, clientFrame(1, 'behind'), clientFrame(1, 'it')]))
    else for (const frame of first) this.#send(frame)
    for (let step = dice.below(8); step > 0 && !this.#socket.destroyed; step--) await this.#step()
    this.#leave()
  }

  /** It says nothing more, and does not answer. */
  async stay (): Promise<void> {
    this.#send(this.#part.request)
    await this.#waitFor(' 101 ')
    this.#socket.pause()
  }

  destroy (): void {
    this.#socket.destroy()
  }

  async #open (): Promise<Opened> {
    const { request, isWild } = this.#part
    const dice = this.#dice
    const way = isWild ? dice.next() : 1
    const bytes = Buffer.from(request, 'latin1')
    const cut = dice.below(bytes.length)
    if (way >= 0.28) {
      this.#send(bytes)
    } else if (way >= 0.2) {
      // In two pieces.
      this.#send(bytes.subarray(0, cut))
      await pause(dice.below(10))
      this.#send(bytes.subarray(cut))
    } else {
      this.isPlain = false
      this.#send(this.#spoilt(bytes, cut, way))
      // It stops there.
      if (way < 0.08) { await pause(dice.below(20)); this.#leave(); return 'left' }
    }
    return 'opened'
  }

  #spoilt (bytes: Buffer, cut: number, way: number): Buffer {
    const dice = this.#dice
    if (way < 0.08) return bytes.subarray(0, cut)
    if (way < 0.11) return Buffer.concat([bytes, bytes])
    if (way < 0.12) return Buffer.concat([bytes.subarray(0, cut), marked(bytes)])
    if (way < 0.15) return withHeader(bytes, dice.one('content-length: 5000', 'content-length: -1', 'transfer-encoding: chunked', 'content-length: 1\r\ncontent-length: 2'))
    if (way < 0.16) return withHeader(bytes, `x-long: ${'x'.repeat(20_000)}`)
    if (way < 0.17) return dice.bytes(200)
    const spoilt = marked(bytes)
    for (let i = dice.below(3); i >= 0; i--) spoilt[dice.below(spoilt.length)] = dice.below(256)
    return spoilt.includes(MARK) ? spoilt : marked(bytes)
  }

  async #step (): Promise<void> {
    const dice = this.#dice
    const frames: ReadonlyArray<() => Buffer> = [
      () => clientFrame(1, 'hello'),
      () => clientFrame(1, 'hello'),
      () => clientFrame(2, 'bytes'),
      () => clientFrame(9, 'ping'),
      () => this.#authFrame(),
      () => this.#authFrame(),
      () => Buffer.concat([this.#authFrame(), this.#authFrame(), clientFrame(1, 'behind'), this.#authFrame()]),
      () => clientFrame(1, '{"type":"auth"'),
      () => clientFrame(1, '{"type":"auth","token":1}')
    ]
    if (this.#part.isWild && dice.chance(0.08)) this.#send(this.#wildFrame())
    else if (dice.chance(0.7)) this.#send(frames[dice.below(frames.length)]?.() ?? Buffer.alloc(0))
    else if (dice.chance(0.05)) this.#send(dice.one(Buffer.from([0xFF, 0xFF]), clientFrame(1, 'x'.repeat(9000)), clientFrame(1, Buffer.from([0xC3, 0x28])), clientFrame(8, '')))
    else if (dice.chance(0.05)) this.#send(this.#authFrame().subarray(0, 5))
    else if (dice.chance(0.05)) await pause(400)
    else if (dice.chance(0.1)) this.#socket.pause()
    else await pause(dice.below(15))
  }

  #wildFrame (): Buffer {
    const dice = this.#dice
    const frame = this.#authFrame()
    const same = clientFrame(1, JSON.stringify({ type: 'auth', token: this.#part.token() }))
    return dice.one<() => Buffer>(
      () => frame.subarray(0, dice.below(frame.length)),
    // Not masked.
    () => Buffer.from([0x81, 5, 104, 101, 108, 108, 111]),
    // With another mask than what it says was masked with.
    () => { frame.fill(dice.below(256), 4, 8); return frame },
    // A length of 64 bits that never comes, and one that no machine has.
    () => Buffer.from([0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0x30, 0, 0, 0, 0, 0]),
    () => Buffer.from([0x82, 0xFF, 0x7F, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0]),
    // Opcodes and bits that nobody has agreed on, a control frame that is too long, fragments that never end.
    () => clientFrame(dice.one(3, 7, 11, 15), 'x'),
    () => clientFrame(0x40 | 1, 'x'),
    () => clientFrame(9, 'x'.repeat(200)),
    () => Buffer.concat([Buffer.from([0x01, 0x81, 0, 0, 0, 0, 120]), Buffer.from([0x00, 0x81, 0, 0, 0, 0, 120])]),
    () => Buffer.from([0x80, 0x81, 0, 0, 0, 0, 120]),
    () => clientFrame(8, Buffer.from([3])),
    () => clientFrame(8, Buffer.from([0, 1])),
    () => Buffer.concat(Array.from({ length: 60 }, () => clientFrame(9, 'x'))),
    () => Buffer.concat(Array.from({ length: 12 }, () => same)),
    () => dice.bytes(50)
    )()
  }

  #leave (): void {
    const how = this.#dice.below(6)
    if (how === 0) this.#socket.end()
    else if (how === 1) this.#socket.resetAndDestroy()
    else if (how === 2) this.#send(clientFrame(8, Buffer.from([3, 232])))
    else if (how === 3) this.#socket.end(clientFrame(8, Buffer.from([3, 232])))
    else if (how === 4) this.#socket.destroy()
    // Or it stays, and says nothing.
  }

  #firstMessage (): Buffer[] {
    const dice = this.#dice
    if (dice.chance(0.1)) return []
    if (dice.chance(0.1)) return [clientFrame(1, 'hello')]
    if (dice.chance(0.1)) return [this.#authFrame().subarray(0, 20)]
    const frame = this.#authFrame()
    const cut = dice.below(frame.length)
    return dice.chance(0.3) ? [frame.subarray(0, cut), frame.subarray(cut)] : [frame]
  }

  #authFrame (): Buffer {
    return clientFrame(1, JSON.stringify({ type: 'auth', token: this.#part.token() }))
  }

  async #waitFor (text: string): Promise<void> {
    for (let i = 0; i < 30 && !this.received.includes(text) && !this.#socket.destroyed; i++) await pause(5)
  }

  #send (data: Buffer | string): void {
    if (this.#socket.writable) this.#socket.write(data, 'latin1')
  }
}

function marked (request: Buffer): Buffer {
  return Buffer.from(request.toString('latin1').replace(/x-client: .*/, MARK), 'latin1')
}

/** A request with one header more, as its last. */
function withHeader (request: Buffer, header: string): Buffer {
  return Buffer.from(request.toString('latin1').replace('\r\n\r\n', `\r\n${header}\r\n\r\n`), 'latin1')
}
