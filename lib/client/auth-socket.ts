/*
 * A socket that lasts. It comes back after each end that may pass, and stops at each that may not.
 */
import { errorOf } from './error'
import { Face, notOpen } from './face'
import { Link } from './link'
import type { LinkEvents, LinkInfo } from './link'
import { iterateMessages } from './messages'
import { Opened } from './opened'
import { hasPage, isOffline, listenToPage } from './page'
import { Queue } from './queue'
import { delayBefore } from './retry'
import type { Retry } from './retry'
import { Scope, startWatch } from './runtime'
import type { Settings } from './settings'
import type { AuthSocket, ConnectOptions, End, State, URLLike } from './types'
import { wordIn } from './verdict'
import type { Outcome } from './verdict'

/** The address of a server. */
export type Address = string | URLLike | (() => string | PromiseLike<string>)

/** A socket of `connect()`. */
export class LastingSocket extends Face implements AuthSocket {
  readonly #settings: Settings
  readonly #address: () => string | PromiseLike<string>
  readonly #options: ConnectOptions
  readonly #retry: Retry
  readonly #queue: Queue
  readonly #hasPage: boolean
  #state: State = Object.freeze({ status: 'connecting', attempt: 0, end: null })
  /** The timers of the present wait. The first one counts. */
  #wait = new Scope()
  #attempt = 0
  /** For how long it has been open, in milliseconds; `null` if it is not. */
  #openFor: (() => number) | null = null
  /** Whether the `open` event was dispatched, and `close` not yet. */
  #hasOpened = false
  /** Whether the server has said how long to wait at least. */
  #isHeld = false
  #opened: Opened | null = null
  #stopListening: () => void = () => {}

  constructor (settings: Settings, address: Address, options: ConnectOptions) {
    super()
    this.#settings = settings
    this.#address = typeof address === 'function' ? address : () => String(address)
    this.#options = options
    this.#retry = { base: 1000, max: 30_000, crowd: 5000, stableAfter: 10_000, ...options.retry }
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
    const state = this.#state
    if (state.status === 'open') return Promise.resolve()
    if (state.status === 'refused' || state.status === 'closed') return Promise.reject(errorOf(state))
    this.#opened ??= new Opened()
    return this.#opened.promise
  }

  send (data: any): void {
    const socket = this.link?.socket
    if (this.link?.isOpen && socket?.readyState === 1) return socket.send(data)
    const isKept = this.readyState < 3 && this.#queue.add(data)
    if (this.#state.status === 'paused' && this.#state.why === 'idle') this.#connect()
    if (!isKept) throw notOpen()
  }

  close (code = 1000, reason = ''): void {
    if (this.#state.status === 'closed') return
    const wasOpen = this.#hasOpened
    this.link?.stop(code, reason)
    this.#stop('closed', { code, reason, wasOpen })
  }

  async renew (): Promise<void> {
    if (!this.link?.isOpen) throw notOpen()
    await this.link.renew()
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
    this.#resetWait()
    const link: Link = this.link = new Link(this.#settings, this.#address, this.#settings.protocols, this.#eventsOf(() => this.link === link))
    this.#set({ status: 'connecting', attempt: this.#attempt, end: this.#lastEnd })
    void link.start()
  }

  #eventsOf (isPresent: () => boolean): LinkEvents {
    return {
      onSocket: (socket) => this.prepare(socket),
      onOpen: (info) => { if (isPresent()) this.#onOpen(info) },
      onMessage: (data) => { if (isPresent()) this.fire('message', { data }) },
      onError: (error) => { if (isPresent()) this.fire('error', { error }) },
      onEnd: (outcome) => { if (isPresent()) this.#onEnd(outcome) }
    }
  }

  #onOpen (info: LinkInfo): void {
    const { link } = this
    const isRenewed = this.#openFor !== null
    this.#openFor ??= startWatch()
    this.#set({ status: 'open', ...info })
    if (isRenewed || this.link !== link) return
    this.#opened?.resolve()
    this.#opened = null
    this.#hasOpened = true
    this.fire('open')
    if (this.link === link) this.#queue.flush((data) => this.send(data))
  }

  #onEnd (outcome: Outcome): void {
    const { end } = outcome
    const decision = this.#decide(end)
    if (decision === false || (decision === undefined && outcome.action === 'refuse')) return this.#stop('refused', end)
    this.#leave(() => {
      if (decision === undefined && wordIn(end) === 'idle') this.#set({ status: 'paused', why: 'idle', end })
      else this.#waitFor(delayBefore(outcome, this.#attempt++, this.#retry), end, outcome.least)
    }, end)
  }

  #decide (end: End): boolean | undefined {
    try {
      return this.#options.shouldReconnect?.(end)
    } catch (error) {
      this.fire('error', { error })
    }
  }

  /** Waits, and connects then. While the device is offline it waits longer, but not for ever: it may be wrong about that. */
  #waitFor (delay: number, end: End, least = 0): void {
    this.#isHeld = least > 0
    const connect = (): void => this.#hasPage && isOffline() ? this.#pause('offline', end) : this.#connect()
    if (this.#hasPage && isOffline()) return connect()
    this.#wait.after(delay, connect)
    this.#set({ status: 'waiting', attempt: this.#attempt, end, delay })
  }

  #pause (why: 'offline' | 'pagehide', end: End | null): void {
    this.#resetWait()
    if (why === 'offline') this.#wait.after(this.#retry.max, () => this.#connect())
    this.#set({ status: 'paused', why, end })
  }

  #resetWait (): void {
    this.#wait.end()
    this.#wait = new Scope()
  }

  /** Leaves the present connection, for another state. */
  #leave (enter: () => void, { code, reason }: { readonly code: number, readonly reason: string } = { code: 1000, reason: '' }): void {
    const hadOpened = this.#hasOpened
    this.#hasOpened = false
    if ((this.#openFor?.() ?? 0) >= this.#retry.stableAfter) this.#attempt = 0
    this.#openFor = null
    const { link } = this
    this.link = null
    link?.stop()
    enter()
    if (hadOpened) this.fireClose(code, reason)
  }

  #stop (status: 'refused' | 'closed', end: End): void {
    this.#settings.wallet.end()
    this.#wait.end()
    this.#stopListening()
    this.#queue.clear()
    const state = { status, end }
    const opened = this.#opened
    this.#opened = null
    this.#leave(() => this.#set(state), end)
    opened?.reject(errorOf(state))
    if (status === 'refused') this.fire('error', { error: errorOf(state) })
  }

  #set (state: State): void {
    this.#state = Object.freeze(state)
    this.fire('state')
  }

  #listen (): void {
    const { signal } = this.#options
    const onAbort = (): void => this.close()
    const stop = this.#hasPage ? listenToPage((spread) => this.#onBack(spread), () => this.#onHide()) : null
    signal?.addEventListener('abort', onAbort)
    this.#stopListening = () => {
      stop?.()
      signal?.removeEventListener('abort', onAbort)
    }
    if (signal?.aborted) onAbort()
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
    if (this.#state.status === 'paused' || this.readyState === 3) return
    const end = this.#lastEnd
    this.#leave(() => this.#pause('pagehide', end))
  }
}
