/*
 * A socket that lasts. It comes back after each end that may pass, and stops at each that may not.
 */
import { errorOf } from './error'
import { Face, notOpen } from './face'
import { Link } from './link'
import type { LinkEvents, LinkInfo } from './link'
import { Opened } from './opened'
import { iterateMessages } from './messages'
import { hasPage, isOffline, listenToPage } from './page'
import { Queue } from './queue'
import { delayBefore } from './retry'
import type { Retry } from './retry'
import { Scope, startWatch } from './runtime'
import { completeOptions } from './settings'
import type { Settings } from './settings'
import type { AuthSocket, ConnectOptions, End, State, URLLike } from './types'
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
  #link: Link | null = null
  #state: State = Object.freeze({ status: 'connecting', attempt: 0, end: null })
  /** The timer of the present wait. */
  #wait = new Scope()
  #attempt = 0
  #openFor: (() => number) | null = null
  #opened: Opened | null = null
  #binaryType: string | undefined
  #stopListening: () => void = () => {}
  readonly #hasPage: boolean
  /** Whether the `open` event was dispatched, and `close` not yet. */
  #hasOpened = false
  /** Whether the server has said how long to wait at least. */
  #isHeld = false

  constructor (address: Address, options: ConnectOptions) {
    super()
    this.#settings = completeOptions(options)
    this.#address = typeof address === 'function' ? address : () => typeof address === 'string' ? address : address.href
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
    if (status === 'open') return this.OPEN
    return status === 'refused' || status === 'closed' ? this.CLOSED : this.CONNECTING
  }

  get url (): string { return this.#link?.url ?? '' }
  get protocol (): string { return this.#link?.socket?.protocol ?? '' }
  get extensions (): string { return this.#link?.socket?.extensions ?? '' }
  get bufferedAmount (): number { return (this.#link?.socket?.bufferedAmount ?? 0) + this.#queue.bytes }
  get binaryType (): any { return this.#binaryType ?? this.#link?.socket?.binaryType ?? 'blob' }
  set binaryType (type: string) {
    this.#binaryType = type
    if (this.#link?.socket != null) this.#link.socket.binaryType = type
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
    const { status } = this.#state
    if (this.#link?.isOpen === true && this.#link.socket?.readyState === this.OPEN) return this.#link.socket.send(data)
    const isKept = this.readyState !== this.CLOSED && this.#queue.add(data)
    if (status === 'paused' && this.#state.why === 'idle') this.#connect()
    if (!isKept) throw notOpen()
  }

  close (code = 1000, reason = ''): void {
    if (this.#state.status === 'closed') return
    const wasOpen = this.#link?.isOpen === true
    this.#link?.stop(code, reason)
    this.#stop('closed', { code, reason, wasOpen })
  }

  async renew (): Promise<void> {
    if (this.#link?.isOpen !== true) throw notOpen()
    await this.#link.renew()
  }

  reconnect (): void {
    if (this.#options.signal?.aborted === true) return
    const isStopped = this.readyState === this.CLOSED
    this.#settings.wallet.reset()
    this.#attempt = 0
    this.#leave(() => {
      this.#connect()
      if (isStopped) this.#listen()
    })
  }

  messages ({ max = 1024 }: { readonly max?: number } = {}): AsyncIterableIterator<any> {
    return iterateMessages(this, max)
  }

  [Symbol.dispose] (): void {
    this.close()
  }

  #connect (): void {
    this.#wait.end()
    const link: Link = this.#link = new Link(this.#settings, this.#address, this.#settings.protocols, this.#eventsOf(() => this.#link === link))
    link.binaryType = this.#binaryType
    this.#set({ status: 'connecting', attempt: this.#attempt, end: 'end' in this.#state ? this.#state.end : null })
    void link.start()
  }

  #eventsOf (isPresent: () => boolean): LinkEvents {
    return {
      onOpen: (info) => { if (isPresent()) this.#onOpen(info) },
      onMessage: (data) => { if (isPresent()) this.fire('message', { data, origin: this.url }) },
      onError: (error) => { if (isPresent()) this.fire('error', { error, message: String(error) }) },
      onEnd: (outcome) => { if (isPresent()) this.#onEnd(outcome) }
    }
  }

  #onOpen (info: LinkInfo): void {
    const link = this.#link
    const isRenewed = this.#openFor !== null
    this.#openFor ??= startWatch()
    this.#set({ status: 'open', ...info })
    if (isRenewed || this.#link !== link) return
    this.#opened?.resolve()
    this.#opened = null
    this.#hasOpened = true
    this.fire('open')
    if (this.#link === link) this.#queue.flush((data) => this.send(data))
  }

  #onEnd (outcome: Outcome): void {
    const { end } = outcome
    if (this.#openFor !== null && this.#openFor() >= this.#retry.stableAfter) this.#attempt = 0
    const decision = this.#options.shouldReconnect?.(end)
    const action = decision === undefined ? outcome.action : decision ? outcome.action.replace(/refuse|idle/, 'retry') as Outcome['action'] : 'refuse'
    if (action === 'refuse') return this.#stop('refused', end)
    this.#leave(() => {
      if (action === 'idle') this.#set({ status: 'paused', why: 'idle', end })
      else this.#waitFor(delayBefore({ ...outcome, action }, this.#attempt++, this.#retry), end, outcome.least ?? 0)
    }, end)
  }

  /** Waits, and connects then. While the device is offline it waits longer, but not for ever: it may be wrong about that. */
  #waitFor (delay: number, end: End, least: number): void {
    this.#isHeld = least > 0
    if (this.#hasPage && isOffline()) return this.#pause('offline', end)
    this.#connectIn(delay, () => this.#hasPage && isOffline() ? this.#pause('offline', end) : this.#connect())
    this.#set({ status: 'waiting', attempt: this.#attempt, end, delay })
  }

  #pause (why: 'offline' | 'pagehide', end: End | null): void {
    this.#isHeld = false
    this.#wait.end()
    if (why === 'offline') this.#connectIn(this.#retry.max)
    this.#set({ status: 'paused', why, end })
  }

  #connectIn (delay: number, connect = () => this.#connect()): void {
    this.#wait.end()
    this.#wait = new Scope()
    this.#wait.after(delay, connect)
  }

  /** Leaves the present connection, for another state. */
  #leave (enter: () => void, end: End = { code: 1000, reason: '', wasOpen: this.#hasOpened }): void {
    const hadOpened = this.#hasOpened
    this.#hasOpened = false
    this.#openFor = null
    const link = this.#link
    this.#link = null
    link?.stop()
    enter()
    if (hadOpened) this.fire('close', { code: end.code, reason: end.reason, wasClean: end.code !== 1006 })
  }

  #stop (status: 'refused' | 'closed', end: End): void {
    this.#settings.wallet.end()
    this.#wait.end()
    this.#stopListening()
    this.#queue.clear()
    const state = { status, end }
    this.#leave(() => this.#set(state), end)
    this.#opened?.reject(errorOf(state))
    this.#opened = null
    if (status === 'refused') this.fire('error', { error: errorOf(state), message: errorOf(state).message })
  }

  #set (state: State): void {
    this.#state = Object.freeze(state)
    this.fire('state')
  }

  #listen (): void {
    const { signal } = this.#options
    const onAbort = (): void => this.close()
    const stop = this.#hasPage ? listenToPage({ onBack: (spread) => this.#onBack(spread), onHide: () => this.#onHide() }) : () => {}
    signal?.addEventListener('abort', onAbort)
    this.#stopListening = () => {
      stop()
      signal?.removeEventListener('abort', onAbort)
    }
    if (signal?.aborted === true) this.close()
  }

  #onBack (spread: number | null): void {
    const { status } = this.#state
    if (status === 'open') this.#link?.probe()
    else if (status === 'paused' || (status === 'waiting' && !this.#isHeld)) this.#connectIn(Math.random() * (spread ?? this.#retry.base))
  }

  #onHide (): void {
    const state = this.#state
    if (state.status === 'paused' || this.readyState === this.CLOSED) return
    this.#leave(() => this.#pause('pagehide', 'end' in state ? state.end : null))
  }
}
