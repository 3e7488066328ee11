/*
 * A socket that lasts. It comes back after each end that may pass, and stops at each that may not.
 */
import { errorOf } from './error'
import { Face, notOpen } from './face'
import { Link } from './link'
import type { LinkInfo, LinkOwner } from './link'
import { iterateMessages } from './messages'
import { hasPage, isOffline, listenToPage } from './page'
import { Queue } from './queue'
import { delayBefore } from './retry'
import type { Retry } from './retry'
import { runtime, Scope, startWatch, type AbortControllerLike } from './runtime'
import { check, completeNumbers } from './settings'
import type { Settings } from './settings'
import type { AuthSocket, ConnectOptions, End, State, URLLike } from './types'
import { wordIn } from './verdict'
import type { Outcome } from './verdict'

/** The address of a server. */
export type Address = string | URLLike | (() => string | PromiseLike<string>)

/** The state of a socket that has stopped. */
type Ended = Extract<State, { readonly status: 'refused' | 'closed' }>

/** A socket of `connect()`. */
export class LastingSocket extends Face implements AuthSocket, LinkOwner {
  readonly #settings: Settings
  readonly #address: () => string | PromiseLike<string>
  readonly #options: ConnectOptions
  readonly #retry: Retry
  readonly #queue: Queue
  readonly #hasPage: boolean
  /** The first one is set by the constructor. */
  #state = {} as State
  /** The timers of the present wait. The first one counts. */
  readonly #wait = new Scope()
  #attempt = 0
  /** For how long it has been open, in milliseconds; `null` if the `open` event was not dispatched, or `close` was. */
  #openFor: (() => number) | null | undefined
  /** Whether the server has said how long to wait at least. */
  #isHeld: boolean | undefined
  #opened: Promise<void> | null | undefined
  /** Ends the listeners to the page. */
  #listening!: AbortControllerLike
  readonly #onAbort = (): void => this.close()

  constructor (settings: Settings, address: Address, options: ConnectOptions) {
    super()
    this.#settings = settings
    this.#address = typeof address === 'function' ? address : () => String(address)
    this.#options = options
    this.#retry = completeNumbers('retry', { base: 1000, max: 30_000, crowd: 5000, stableAfter: 10_000 }, options.retry)
    // Else each attempt would fail, and be tried again.
    check('create', options.create ?? runtime.WebSocket)
    this.#queue = new Queue(options.queue ?? 0)
    this.#hasPage = options.page ?? hasPage()
    this.#connect()
    this.#listen()
  }

  get state (): State {
    return this.#state
  }

  get readyState (): 0 | 1 | 3 {
    const { status } = this.#state
    return status === 'open' ? 1 : status === 'refused' || status === 'closed' ? 3 : 0
  }

  override get bufferedAmount (): number {
    return super.bufferedAmount + this.#queue.bytes
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    const onState = (): void => listener()
    this.addEventListener('state', onState)
    return () => this.removeEventListener('state', onState)
  }

  get opened (): Promise<void> {
    return (this.#opened ??= new Promise((resolve, reject) => {
      const check = (): void => {
        if (!this.readyState) return
        unsubscribe()
        if (this.readyState === 1) resolve()
        else reject(errorOf(this.#state as Ended))
      }
      const unsubscribe = this.subscribe(check)
      check()
    }))
  }

  send (data: any): void {
    const socket = this.link?.isOpen ? this.link.socket : null
    if (socket?.readyState === 1) return socket.send(data)
    const isKept = this.readyState < 3 && this.#queue.add(data)
    if (this.#state.status === 'paused' && this.#state.why === 'idle') this.#connect()
    if (!isKept) throw notOpen()
  }

  close (code = 1000, reason = ''): void {
    if (this.#state.status === 'closed') return
    const wasOpen = !!this.#openFor
    this.link?.stop(code, reason)
    this.#stop('closed', { code, reason, wasOpen })
  }

  async renew (): Promise<void> {
    if (!this.link?.isOpen) throw notOpen()
    await this.link.renewals.renew()
  }

  reconnect (): void {
    if (this.#options.signal?.aborted) return
    if (this.readyState === 3) this.#listen()
    this.#settings.wallet.reset()
    this.#attempt = 0
    this.#leave(() => this.#connect())
  }

  messages ({ max = 1024 }: { readonly max?: number } = {}): AsyncIterableIterator<any> {
    return iterateMessages(this, max)
  }

  [Symbol.dispose] (): void {
    this.close()
  }

  #connect (): void {
    this.#wait.end()
    const link = this.link = new Link(this.#settings, this.#address, this.#settings.protocols, this)
    this.#set({ status: 'connecting', attempt: this.#attempt, end: this.#lastEnd })
    void link.start()
  }

  onOpen (info: LinkInfo): void {
    const { link } = this
    const openFor = startWatch()
    this.#set({ status: 'open', ...info })
    // It was renewed, or a listener has left it.
    if (this.#openFor || this.link !== link) return
    this.#openFor = openFor
    this.fire('open')
    if (this.link === link) this.#queue.flush((data) => this.send(data))
  }

  onRefusal (error: unknown): void {
    this.fire('error', { error })
  }

  onEnd (outcome: Outcome): void {
    const { end } = outcome
    const decision = this.#decide(end)
    if (!(decision ?? outcome.action !== 'refuse')) return this.#stop('refused', end)
    this.#leave(() => {
      if (decision === undefined && wordIn(end) === 'idle') this.#set({ status: 'paused', why: 'idle', end })
      else this.#waitFor(delayBefore(outcome, this.#attempt++, this.#retry), end, outcome.least)
    }, end)
  }

  #decide (end: End): boolean | undefined {
    try {
      return this.#options.shouldReconnect?.(end)
    } catch (error) {
      this.onRefusal(error)
    }
  }

  /** Waits, and connects then. While the device is offline it waits longer, but not for ever: it may be wrong about that. */
  #waitFor (delay: number, end: End, least = 0): void {
    this.#isHeld = least > 0
    const pauseIfOffline = (): boolean => this.#hasPage && isOffline() && this.#pause('offline', end)
    if (pauseIfOffline()) return
    this.#wait.after(delay, () => pauseIfOffline() || this.#connect())
    this.#set({ status: 'waiting', attempt: this.#attempt, end, delay })
  }

  #pause (why: 'offline' | 'pagehide', end: End | null): true {
    this.#wait.end()
    if (why === 'offline') this.#wait.after(this.#retry.max, () => this.#connect())
    this.#set({ status: 'paused', why, end })
    return true
  }

  /** Leaves the present connection, for another state. */
  #leave (enter: () => void, { code = 1000, reason = '' } = {}): void {
    const { link } = this
    const openFor = this.#openFor
    this.link = this.#openFor = null
    if (openFor && openFor() >= this.#retry.stableAfter) this.#attempt = 0
    link?.stop()
    enter()
    if (openFor) this.fireClose(code, reason)
  }

  #stop (status: 'refused' | 'closed', end: End): void {
    this.#settings.wallet.end()
    this.#wait.end()
    this.#listening.abort()
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    this.#queue.clear()
    const state = { status, end }
    this.#leave(() => this.#set(state), end)
    if (status === 'refused') this.onRefusal(errorOf(state))
  }

  #set (state: State): void {
    // A promise that was settled is of the state before.
    if (this.readyState) this.#opened = null
    this.#state = Object.freeze(state)
    this.fire('state')
  }

  #listen (): void {
    const { signal } = this.#options
    const controller = this.#listening = new runtime.AbortController()
    if (this.#hasPage) listenToPage(controller, (spread) => this.#onBack(spread), () => this.#onHide())
    // Not by the controller: Node.js 20 loses such listeners if many sockets have one signal.
    signal?.addEventListener('abort', this.#onAbort)
    if (signal?.aborted) this.close()
  }

  get #lastEnd (): End | null {
    return 'end' in this.#state ? this.#state.end : null
  }

  /** The page is back, or the device is online. */
  #onBack (spread = this.#retry.base): void {
    const { status } = this.#state
    this.link?.probe()
    if (status === 'paused' || (status === 'waiting' && !this.#isHeld)) this.#wait.after(Math.random() * spread, () => this.#connect())
  }

  /** The page goes into the cache of the browser, or ends. */
  #onHide (): void {
    if (this.#state.status === 'paused') return
    const end = this.#lastEnd
    this.#leave(() => this.#pause('pagehide', end))
  }
}
