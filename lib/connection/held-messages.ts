/*
 * What a client has sent past a limit that makes it wait. Frames are read on until so many bytes wait, because there may be an auth
 * frame among them: a renewal must not come too late for want of room. What waits reaches the app in order, each message when there
 * is room for its last frame. Then nothing more is read, and TCP makes the client wait.
 */
import type { RawData, WebSocket } from 'ws'

/** How many bytes may wait, before and after decompression, with the headers of their frames. */
const MAX_BYTES = 65_536
/** How often a socket that the app has paused is looked at, in milliseconds. */
const PAUSED_STEP = 100
/** The longest timer, in milliseconds: the system clock may be set. */
const MAX_DELAY = 1000

/** A frame, and the message that it ends. */
interface Held {
  /** When there is room for it, in milliseconds since the epoch. */
  dueAt: number
  bytes: number
  message: [data: RawData, isBinary: boolean] | null
}

/** The frames of one connection that wait. */
export class HeldMessages {
  readonly #socket: WebSocket
  /** Goes on with the frame that is held back: asks again what becomes of it, or reads it. */
  readonly #resume: (asksAgain: boolean) => void
  #queue: Held[] = []
  #bytes = 0
  /** The frame that is not read for want of room; `'close'` for a close frame. */
  #next: Held | 'close' | null = null
  #timer: NodeJS.Timeout | null = null
  /** When the clock was read last. */
  #readAt = 0
  #isDelivering = false

  constructor (socket: WebSocket, resume: (asksAgain: boolean) => void) {
    this.#socket = socket
    this.#resume = resume
  }

  /** Whether nothing waits. */
  get isEmpty (): boolean {
    return this.#queue.length === 0
  }

  /** Whether the client has to wait. */
  get isReading (): boolean {
    return this.#next === null
  }

  /** Adds a frame. @param wait in milliseconds @returns whether it is to be read now */
  add (wait: number, bytes: number, now: number): boolean {
    const held = this.#heldFor(wait, bytes, now)
    if (this.#bytes < MAX_BYTES) this.#push(held)
    else this.#next = held
    return this.#next === null
  }

  /** Adds a frame that was read already. */
  addRead (wait: number, bytes: number, now: number): void {
    this.#push(this.#heldFor(wait, bytes, now))
  }

  /** The frame that was added last has to wait for longer, because more of it has come. It may not have had to wait before. */
  postpone (wait: number, now: number): void {
    const last = this.#queue.at(-1)
    if (last === undefined) return this.addRead(wait, 0, now)
    this.#follow(now)
    last.dueAt = Math.max(last.dueAt, now + wait)
  }

  /** Holds back a close frame until all messages before it have reached the app. */
  holdClose (): void {
    this.#next = 'close'
  }

  /** Keeps the message that the last frame has ended. @returns whether it has to wait */
  keep (data: RawData, isBinary: boolean, length: number): boolean {
    let last = this.#queue.at(-1)
    if (last === undefined || this.#isDelivering) return false
    if (last.message !== null) this.#push(last = { dueAt: last.dueAt, bytes: 0, message: null })
    last.message = [data, isBinary]
    last.bytes += length
    this.#bytes += length
    return true
  }

  /** Drops everything: the connection has ended. There may be a close frame behind what is held back. */
  drop (): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#queue = []
    this.#bytes = 0
    if (this.#next === null) return
    this.#next = null
    // The app may be in the middle of anything.
    setImmediate(this.#resume, true)
  }

  #heldFor (wait: number, bytes: number, now: number): Held {
    this.#follow(now)
    return { dueAt: now + wait, bytes, message: null }
  }

  /** The clock may be set back: then what waits does not wait for longer. */
  #follow (now: number): void {
    const back = this.#readAt - now
    this.#readAt = now
    if (back <= 0) return
    for (const held of this.#queue) held.dueAt -= back
    if (this.#next !== null && this.#next !== 'close') this.#next.dueAt -= back
  }

  #push (held: Held): void {
    this.#queue.push(held)
    this.#bytes += held.bytes
    if (this.#timer === null && !this.#isDelivering) this.#schedule()
  }

  #schedule (): void {
    const [first] = this.#queue
    if (first === undefined) return
    const now = Date.now()
    this.#follow(now)
    const delay = this.#socket.isPaused ? PAUSED_STEP : Math.min(Math.max(first.dueAt - now, 1), MAX_DELAY)
    this.#timer = setTimeout(this.#deliver, delay).unref()
  }

  /** A listener of the app that throws does so in this timer. The others are called in the next. */
  readonly #deliver = (): void => {
    this.#timer = null
    this.#isDelivering = true
    try {
      for (let held = this.#shift(); held !== undefined; held = this.#shift()) {
        if (held.message !== null) this.#socket.emit('message', ...held.message)
      }
    } finally {
      this.#isDelivering = false
      this.#readOn()
      if (this.#timer === null) this.#schedule()
    }
  }

  #shift (): Held | undefined {
    const [first] = this.#queue
    if (first === undefined || this.#socket.isPaused) return undefined
    const now = Date.now()
    this.#follow(now)
    if (first.dueAt > now) return undefined
    this.#bytes -= first.bytes
    return this.#queue.shift()
  }

  #readOn (): void {
    const next = this.#next
    if (next === null || (next === 'close' ? !this.isEmpty : this.#bytes >= MAX_BYTES)) return
    this.#next = null
    if (next !== 'close') this.#push(next)
    this.#resume(false)
  }
}
