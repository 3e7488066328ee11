/*
 * One connection: from the credential over the handshake and its renewals to its end. Both clients are made of it.
 */
import { addressOf, writeHandshake } from './carrier'
import { WsAuthClientError } from './error'
import { readFrame } from './frames'
import { failure, refused, request, type Answer } from './http'
import { Renewals, type Renewable } from './renewals'
import { Scope, startWatch } from './runtime'
import type { Settings } from './settings'
import type { CredentialRequest, End, SocketLike } from './types'
import { actionOf, type Outcome } from './verdict'
import { readCredential } from './wallet'

/** How long an open socket may take for `auth.ok`, if the server sends one, and a socket to close after an error, in milliseconds. */
const DELAY = 1000
/** How long a connection may be silent, in milliseconds, before it is asked for a sign of life. */
const SILENCE = 5000

/** What the server has told of a connection. */
export interface LinkInfo {
  readonly id: string | null
  /** The rest of the life of the token, in milliseconds. */
  readonly expiresIn: number | null
}

/** The events of a connection. `onEnd` is the last one, and comes once. */
export interface LinkEvents {
  /** There is a socket, which is not open yet. */
  onSocket (socket: SocketLike): void
  /** The connection is open, or was renewed. */
  onOpen (info: LinkInfo): void
  onMessage (data: unknown): void
  /** A renewal was refused. */
  onError (error: unknown): void
  onEnd (outcome: Outcome): void
}

type Address = () => string | PromiseLike<string>

export class Link implements Renewable {
  readonly scope = new Scope()
  readonly settings: Settings
  readonly #address: Address
  readonly #own: readonly string[]
  readonly #events: LinkEvents
  readonly #renewals = new Renewals(this)
  socket: SocketLike | null = null
  url = ''
  /** The token of the connection; `undefined` if it has a cookie or a ticket alone. */
  token: string | undefined
  isOpen = false
  /** Whether the server speaks auth frames on this connection. */
  hasFrames = false
  #silence = startWatch()
  #cancelProbe: (() => void) | null = null
  /** What `auth.retry` said, in milliseconds. */
  #most: number | undefined
  #cancelOpening: () => void = () => {}
  #settleOpening: (outcome: Outcome | null) => void = () => {}

  /** @param address the address of the server; @param own the subprotocols of the app */
  constructor (settings: Settings, address: Address, own: readonly string[], events: LinkEvents) {
    this.settings = settings
    this.#address = address
    this.#own = own
    this.#events = events
  }

  /** Opens the connection. If a credential is refused, the next one is tried. */
  async start (): Promise<void> {
    await Promise.resolve()
    const { wallet, ticket, finals } = this.settings
    for (let outcome: Outcome | null; !this.scope.isOver;) {
      outcome = await this.#attempt().catch(failure)
      if (this.scope.isOver || outcome === null) return
      const isRefused = outcome.action === 'ask'
      if (isRefused) wallet.refuse(outcome.end.reason === 'ticket_invalid' ? undefined : this.token, outcome.end.reason)
      else if (outcome.action === 'refuse' && this.token !== undefined) {
        finals?.set(this.url, [this.token, outcome.end.reason])
        wallet.forget()
      }
      if (!isRefused || wallet.refusals > 1 || (this.token === undefined && ticket === undefined)) this.#finish(isRefused ? { ...outcome, action: 'refuse' } : outcome)
    }
  }

  /** Renews the connection. @throws if the credential is refused */
  async renew (): Promise<void> {
    await this.#renewals.renew()
  }

  /** Asks for a sign of life, and ends the connection if there is none. */
  probe (): void {
    if (!this.isOpen || !this.hasFrames || this.#cancelProbe !== null || this.#silence() < SILENCE) return
    this.socket?.send('{"type":"auth.ping"}')
    this.#cancelProbe = this.scope.after(this.settings.answer, () => this.#lose())
  }

  sendFrame (frame: object): void {
    this.socket?.send(JSON.stringify({ type: 'auth', ...frame }))
  }

  /** Ends the connection without an event. @throws the error of the socket for a wrong code */
  stop (code = 1000, reason = ''): void {
    this.socket?.close(code, reason)
    this.#release()
  }

  /** Ends the connection, because it goes on with the token of another user. */
  changeUser (): void {
    const { socket } = this
    this.#lost({ code: 3000, reason: 'other_subject', wasOpen: true })
    socket?.close()
  }

  onRenewalRefused (error: unknown): void {
    this.#events.onError(error)
  }

  async getTicket (why: CredentialRequest['why'], token?: string): Promise<string> {
    const { ticket, end, action } = await this.#requestTicket(why, token)
    if (typeof ticket === 'string') return ticket
    // An app without tickets has no path for them.
    throw action === undefined && end.status !== 404 ? new Error(end.hint) : new WsAuthClientError(end.reason)
  }

  async #requestTicket (why: CredentialRequest['why'], token?: string): Promise<Answer> {
    const { ticket, wallet, credential, fetch } = this.settings
    return await this.scope.within(credential, async (signal) => {
      if (typeof ticket === 'function') return { ticket: readCredential(await ticket(wallet.requestOf(why, signal)))?.[0], ...refused('token_missing') }
      return fetch === false ? refused('token_missing') : await request(fetch, 'POST', this.url, token, signal, typeof ticket === 'string' ? ticket : '/ws-ticket')
    })
  }

  /** One handshake. @returns how it failed, or `null` if the connection is open */
  async #attempt (): Promise<Outcome | null> {
    const { scope, settings } = this
    const { wallet, via, fetch, credential, answer } = settings
    this.url = addressOf(await scope.within(credential, this.#address))
    if (scope.isOver) return null
    const token = await wallet.get('connect')
    const word = wallet.refused?.[1]
    this.token = token ?? undefined
    if (token === null || (token !== undefined && token === wallet.refused?.[0])) return refused(word ?? 'token_missing')
    const final = settings.finals?.get(this.url)
    if (token !== undefined && token === final?.[0]) return refused(final[1])
    let ticket: string | undefined
    if (settings.ticket !== undefined) {
      const got = await this.#requestTicket(word === undefined ? 'connect' : 'rejected', token)
      if (typeof got.ticket !== 'string') return got
      ticket = got.ticket
    }
    if (scope.isOver) return null
    const outcome = await new Promise<Outcome | null>((resolve) => {
      this.#settleOpening = resolve
      this.#open(this.settings.create(...writeHandshake(this.url, this.#own, via, token, ticket)), via === 'message' && token !== undefined)
    })
    // A ticket is spent: a dry run would not find out.
    if (outcome === null || outcome.end.code !== 1006 || ticket !== undefined || fetch === false) return outcome
    return await scope.within(answer, async (signal) => await request(fetch, 'GET', this.url, token, signal)).catch((error: unknown) => failure(error, 'no answer to a dry run: no network, no CORS, or a CSP'))
  }

  #open (socket: SocketLike, isMessage: boolean): void {
    const { scope } = this
    const cancel = scope.after(this.settings.connect, () => this.#lose())
    this.#cancelOpening = cancel
    this.socket = socket
    this.#most = undefined
    this.#events.onSocket(socket)
    socket.onopen = () => {
      if (isMessage) return this.sendFrame({ token: this.token })
      // A public route, and a server whose option `renewal` is off, say nothing.
      const cancelWait = scope.after(DELAY, () => this.#becomeOpen({ id: null, expiresIn: null }))
      this.#cancelOpening = () => {
        cancel()
        cancelWait()
      }
    }
    socket.onmessage = ({ data }: { data: unknown }) => this.#onMessage(data)
    socket.onclose = ({ code, reason }: { code: number, reason: string }) => this.#lost({ code, reason, wasOpen: this.isOpen })
    // Some sockets have no close event after a failed handshake, others none after an error.
    socket.onerror = () => this.isOpen ? scope.after(DELAY, () => this.#lose()) : this.#lose()
  }

  #onMessage (data: unknown): void {
    this.#silence = startWatch()
    this.#cancelProbe?.()
    this.#cancelProbe = null
    const frame = readFrame(data)
    if (frame?.type === 'auth.retry') this.#most = frame.within
    else if (frame !== null) this.#renewals.onFrame(frame)
    if (frame?.type === 'auth.ok') {
      const { connection = null, expiresIn = null } = frame
      this.hasFrames = true
      this.#becomeOpen({ id: connection, expiresIn })
    }
    if (frame !== null) return
    if (!this.isOpen) this.#becomeOpen({ id: null, expiresIn: null })
    if (!this.scope.isOver) this.#events.onMessage(data)
  }

  /** The connection is open, or goes on. */
  #becomeOpen (info: LinkInfo): void {
    this.#cancelOpening()
    this.settings.wallet.accept(this.token, info.expiresIn)
    this.isOpen = true
    this.#events.onOpen(info)
    this.#settleOpening(null)
  }

  /** Drops a socket that does not answer. */
  #lose (): void {
    const { socket } = this
    this.#lost({ code: 1006, reason: '', wasOpen: this.isOpen })
    try {
      socket?.close()
    } catch {}
  }

  /** The socket has closed. */
  #lost (end: End): void {
    const outcome = { end, action: actionOf(end), most: this.#most }
    this.#detach()
    if (!end.wasOpen) return this.#settleOpening(outcome)
    if (outcome.action === 'ask') this.settings.wallet.refuse(this.token, end.reason)
    this.#finish(outcome)
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

  /** The listener for errors stays, because ws throws an error without one. */
  #detach (): void {
    this.#cancelOpening()
    const { socket } = this
    if (socket === null) return
    socket.onopen = socket.onmessage = socket.onclose = null
    socket.onerror = () => {}
    this.socket = null
  }
}
