/*
 * One connection: from the credential over the handshake and its renewals to its end. Both clients are made of it.
 */
import { addressOf, FRAMES, writeHandshake } from './carrier'
import type { Handshake } from './carrier'
import { explain } from './dry-run'
import { PING, readFrame } from './frames'
import type { AuthFrame } from './frames'
import { Renewals } from './renewals'
import type { Renewable } from './renewals'
import { Scope, startWatch } from './runtime'
import type { Settings } from './settings'
import { getTicket, noUser } from './ticket'
import type { End, WebSocketLike } from './types'
import { actionOf } from './verdict'
import type { Outcome } from './verdict'

/** How long a server that has chosen a subprotocol of the app may take for `auth.ok`, in milliseconds, before the connection counts as open. */
const FRAMES_DELAY = 1000
/** How long a connection may be silent, in milliseconds, before it is asked for a sign of life. */
const SILENCE = 5000
/** How long a socket may take to close after an error, in milliseconds. */
const ERROR_DELAY = 1000

/** What the server has told of a connection. */
export interface LinkInfo {
  readonly id: string | null
  /** The rest of the life of the token, in milliseconds. */
  readonly expiresIn: number | null
}

/** The events of a connection. `onEnd` is the last one, and comes once. */
export interface LinkEvents {
  /** The connection is open, or was renewed. */
  onOpen (info: LinkInfo): void
  onMessage (data: unknown): void
  /** A renewal was refused. */
  onError (error: unknown): void
  onEnd (outcome: Outcome): void
}

export class Link implements Renewable {
  readonly scope = new Scope()
  readonly settings: Settings
  readonly #address: () => string | PromiseLike<string>
  readonly #own: readonly string[]
  readonly #events: LinkEvents
  readonly #renewals = new Renewals(this)
  socket: WebSocketLike | null = null
  url = ''
  /** The token of the connection; `null` if it has a cookie or a ticket alone. */
  token: string | null = null
  isOpen = false
  binaryType: string | undefined
  /** Whether the server speaks auth frames on this connection. */
  hasFrames = false
  #silence = startWatch()
  #cancelProbe: (() => void) | null = null
  /** What `auth.retry` said, in milliseconds. */
  #most: number | null = null
  #settleOpening: (outcome: Outcome | null) => void = () => {}
  #cancelOpening: () => void = () => {}
  #cancelWait: () => void = () => {}

  /** @param address the address of the server; @param own the subprotocols of the app */
  constructor (settings: Settings, address: () => string | PromiseLike<string>, own: readonly string[], events: LinkEvents) {
    this.settings = settings
    this.#address = address
    this.#own = own
    this.#events = events
  }

  /** Opens the connection. If a credential is refused, the next one is tried. */
  async start (): Promise<void> {
    await null
    const { wallet, ticket } = this.settings
    for (let outcome: Outcome | null; !this.scope.isOver;) {
      outcome = await this.#attempt().catch((error: unknown): Outcome => ({ end: { code: 1006, reason: '', wasOpen: false, error }, action: 'retry' }))
      if (this.scope.isOver || outcome === null) return
      if (outcome.action !== 'ask') return this.#finish(outcome)
      if (wallet.refusals > 1 || !(wallet.canAsk || ticket !== undefined)) return this.#finish({ ...outcome, action: 'refuse' })
    }
  }

  /** Renews the connection. @throws if the credential is refused */
  async renew (): Promise<void> {
    await this.#renewals.renew()
  }

  /** Asks for a sign of life, and ends the connection if there is none. */
  probe (): void {
    if (!this.isOpen || !this.hasFrames || this.#cancelProbe !== null || this.#silence() < SILENCE) return
    this.sendFrame(PING)
    this.#cancelProbe = this.scope.after(this.settings.answerTimeout, () => this.#lose('the server gave no sign of life'))
  }

  sendFrame (frame: string): void {
    this.socket?.send(frame)
  }

  /** Ends the connection without an event. @throws the error of the socket for a wrong code */
  stop (code = 1000, reason = ''): void {
    this.socket?.close(code, reason)
    this.#release()
  }

  /** Ends the connection, because it goes on with the token of another user. */
  changeUser (): void {
    const end = { code: 3000, reason: 'other_subject', wasOpen: true }
    this.socket?.close(1000)
    this.#finish({ end, action: 'anew' })
  }

  onRenewalRefused (error: unknown): void {
    this.#events.onError(error)
  }

  /** One handshake. @returns how it failed, or `null` if the connection is open */
  async #attempt (): Promise<Outcome | null> {
    const { settings, scope } = this
    const { wallet, via, ticket: hasTicket } = settings
    this.url = addressOf(await scope.within(settings.credentialTimeout, 'the function for the address', this.#address))
    this.token = wallet.canAsk ? await wallet.get('connect') : null
    if (scope.isOver) return null
    const { refused } = wallet
    if (wallet.canAsk && (this.token === null || this.token === refused?.token)) return noUser(refused?.word)
    const ticket = hasTicket === undefined ? null : await getTicket(settings, scope, this.url, this.token, refused === null ? 'connect' : 'rejected')
    if (typeof ticket === 'object' && ticket !== null) return this.#judge(ticket)
    const handshake = writeHandshake(this.url, this.#own, via, this.token, ticket)
    const outcome = await new Promise<Outcome | null>((resolve) => {
      this.#settleOpening = resolve
      this.#open(handshake)
    })
    // A ticket is spent, so that a dry run could not find out.
    const isHidden = outcome !== null && outcome.end.code === 1006 && outcome.end.error === undefined && outcome.end.hint === undefined && ticket === null
    return this.#judge(isHidden ? await explain(settings, scope, this.url, this.token) : outcome)
  }

  /** Notes that a credential is refused. */
  #judge<T extends Outcome | null> (outcome: T): T {
    if (outcome?.action === 'ask') this.settings.wallet.refuse(outcome.end.reason === 'ticket_invalid' ? null : this.token, outcome.end.reason)
    return outcome
  }

  #open ({ url, protocols, headers, first }: Handshake): void {
    let socket: WebSocketLike
    try {
      socket = this.socket = this.settings.create(url, protocols, headers)
    } catch (error) {
      const isFinal = (error as Error | null)?.name === 'SyntaxError'
      return this.#settleOpening({ end: { code: 1006, reason: '', wasOpen: false, error, hint: 'the socket was not made' }, action: isFinal ? 'refuse' : 'retry' })
    }
    if (this.binaryType !== undefined) socket.binaryType = this.binaryType
    this.#cancelOpening = this.scope.after(this.settings.connectTimeout, () => this.#lose('the server did not answer in time'))
    socket.onopen = () => {
      if (first !== null) socket.send(first)
      this.hasFrames = first !== null || socket.protocol === FRAMES
      if (!this.hasFrames) this.#cancelWait = this.scope.after(FRAMES_DELAY, () => this.#becomeOpen({ id: null, expiresIn: null }))
    }
    socket.onmessage = ({ data }: { data: unknown }) => this.#onMessage(data)
    socket.onclose = ({ code, reason }: { code: number, reason: string }) => this.#lost({ code, reason, wasOpen: this.isOpen })
    // Some sockets have no close event after a failed handshake, others none after an error.
    socket.onerror = () => {
      if (this.isOpen) this.scope.after(ERROR_DELAY, () => this.#lose('the socket had an error'))
      else this.#lost({ code: 1006, reason: '', wasOpen: false })
    }
  }

  #onMessage (data: unknown): void {
    this.#silence = startWatch()
    this.#cancelProbe?.()
    this.#cancelProbe = null
    const frame = readFrame(data)
    if (frame !== null) return this.#onFrame(frame)
    if (!this.isOpen) this.#becomeOpen({ id: null, expiresIn: null })
    if (!this.scope.isOver) this.#events.onMessage(data)
  }

  #onFrame (frame: AuthFrame): void {
    if (frame.type === 'auth.retry') this.#most = frame.within ?? null
    else if (frame.type === 'auth.ok') this.#onAccepted(frame)
    else this.#renewals.onFrame(frame)
  }

  #onAccepted (frame: AuthFrame): void {
    const { connection = null, expiresIn = null } = frame
    this.hasFrames = true
    this.#renewals.onFrame(frame)
    this.settings.wallet.accept(this.token, expiresIn)
    this.#renewals.schedule(expiresIn)
    this.#becomeOpen({ id: connection, expiresIn })
  }

  /** The connection is open, or goes on. */
  #becomeOpen (info: LinkInfo): void {
    this.#cancelOpening()
    this.#cancelWait()
    if (!this.isOpen) this.settings.wallet.accept(this.token, info.expiresIn)
    this.isOpen = true
    this.#events.onOpen(info)
    this.#settleOpening(null)
  }

  /** Drops a socket that does not answer. */
  #lose (hint: string): void {
    const { socket } = this
    this.#lost({ code: 1006, reason: '', wasOpen: this.isOpen, hint })
    try {
      socket?.close()
    } catch {}
  }

  /** The socket has closed. */
  #lost (end: End): void {
    const outcome = { end, action: actionOf(end), most: this.#most }
    this.#detach()
    if (!end.wasOpen) this.#settleOpening(outcome)
    else this.#finish(this.#judge(outcome))
  }

  #finish (outcome: Outcome): void {
    this.#release()
    this.#events.onEnd(outcome)
  }

  #release (): void {
    this.#detach()
    this.isOpen = false
    this.scope.end()
  }

  /** A socket without listeners is collected. The listener for errors stays, because ws throws an error without one. */
  #detach (): void {
    this.#cancelOpening()
    this.#cancelWait()
    const { socket } = this
    if (socket === null) return
    socket.onopen = socket.onmessage = socket.onclose = null
    socket.onerror = () => {}
    this.socket = null
  }
}
