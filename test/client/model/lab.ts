/*
 * A world for the client, without a network and without waiting: a clock, a page, sockets and controllers that count who listens. The
 * globals are in place from `install` to `uninstall`.
 */
import { flush, VirtualClock } from './clock'
import { FakeSocket } from './fake-socket'

type Listener = (event: unknown) => void

/** A target of events that knows how many listen. */
export class FakeTarget {
  readonly listeners = new Set<{ readonly type: string, readonly listener: Listener }>()
  visibilityState = 'visible'

  /** The abort of `signal` removes the listener, as in the standard of the DOM. */
  readonly addEventListener = (type: string, listener: Listener, { signal }: { readonly signal?: FakeSignal } = {}): void => {
    const each = { type, listener }
    this.listeners.add(each)
    if (signal !== undefined) signal.onAbort.push(() => this.listeners.delete(each))
  }

  readonly removeEventListener = (type: string, listener: Listener): void => {
    for (const each of this.listeners) if (each.type === type && each.listener === listener) this.listeners.delete(each)
  }

  dispatch (type: string): void {
    for (const each of [...this.listeners]) if (each.type === type) each.listener({ type })
  }
}

/** An `AbortSignal` that knows how many listen. */
export class FakeSignal extends FakeTarget {
  aborted = false
  /** The steps that come before the event, as in the standard. */
  readonly onAbort: Array<() => void> = []
}

export class FakeAbortController {
  readonly signal = new FakeSignal()

  abort (): void {
    if (this.signal.aborted) return
    this.signal.aborted = true
    for (const run of this.signal.onAbort.splice(0)) run()
    this.signal.dispatch('abort')
  }
}

/** The lab whose turn it is, and those that wait until it ends. */
let current: Lab | null = null
const before: Array<Lab | null> = []

export class Lab {
  readonly clock = new VirtualClock()
  readonly window = new FakeTarget()
  readonly document = new FakeTarget()
  readonly navigator = { onLine: true }
  readonly sockets: FakeSocket[] = []
  random: () => number = () => 0.5
  readonly #restore: Array<() => void> = []

  /** For the option `create`. */
  readonly create = (url: string, protocols: string[], headers: Record<string, string>): FakeSocket => {
    const socket = new FakeSocket(this.clock, url, protocols, headers)
    this.sockets.push(socket)
    return socket
  }

  /** The last socket. */
  get socket (): FakeSocket {
    const socket = this.sockets.at(-1)
    if (socket === undefined) throw new Error('there is no socket yet')
    return socket
  }

  /** How many listen to the page. */
  get listeners (): number {
    return this.window.listeners.size + this.document.listeners.size
  }

  /** Puts the fakes in the place of the globals, or takes over those of the lab before. */
  install ({ hasPage = true } = {}): void {
    before.push(current)
    current = this
    if (before.length > 1) return
    this.#set(globalThis, {
      setTimeout: (run: () => void, delay: number) => current?.clock.setTimeout(run, delay),
      clearTimeout: (timer: unknown) => current?.clock.clearTimeout(timer),
      AbortController: FakeAbortController,
      performance: { now: () => current?.clock.now }
    })
    this.#set(Date, { now: () => (current as Lab).clock.now + (current as Lab).clock.skew })
    this.#set(Math, { random: () => current?.random() })
    if (hasPage) this.#setPage()
  }

  #setPage (): void {
    const pageOf = (name: 'document' | 'navigator'): PropertyDescriptor => ({ get: () => current?.[name] })
    this.#set(globalThis, {
      ononline: null,
      addEventListener: (type: string, listener: Listener, options?: { readonly signal?: FakeSignal }) => current?.window.addEventListener(type, listener, options),
      removeEventListener: (type: string, listener: Listener) => current?.window.removeEventListener(type, listener)
    })
    this.#define('document', pageOf('document'))
    this.#define('navigator', pageOf('navigator'))
  }

  uninstall (): void {
    current = before.pop() ?? null
    for (const restore of this.#restore.splice(0).reverse()) restore()
  }

  async advance (duration: number): Promise<void> {
    await this.clock.advance(duration)
  }

  /** Runs all microtasks. */
  async flush (): Promise<void> {
    await flush()
  }

  #set (target: object, values: object): void {
    for (const [name, value] of Object.entries(values)) this.#define(name, { writable: true, value }, target)
  }

  #define (name: string, descriptor: PropertyDescriptor, target: object = globalThis): void {
    const original = Object.getOwnPropertyDescriptor(target, name)
    Object.defineProperty(target, name, { configurable: true, ...descriptor })
    this.#restore.push(() => {
      if (original === undefined) Reflect.deleteProperty(target, name)
      else Object.defineProperty(target, name, original)
    })
  }
}
