/*
 * One connection: from the credential over the handshake and its renewals to its end. Both clients are made of it.
 */
import { addressOf, withQuery, writeHandshake } from './carrier'
import { WsAuthClientError } from './error'
import { readFrame } from './frames'
import { request } from './http'
import { Renewals, type Renewable } from './renewals'
import { Scope, startWatch } from './runtime'
import type { Settings } from './settings'
import type { CredentialRequest, SocketLike } from './types'
import { outcomeOf, type Outcome } from './verdict'
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

/** The owner of a connection, which is told of its events. `onEnd` is the last one, and comes once. None comes after `stop`. */
export interface LinkOwner {
  /** There is a socket, which is not open yet. */
  prepare (socket: SocketLike): void
  /** The connection is open, or was renewed. */
  onOpen (info: LinkInfo): void
  /** A message of the app. */
  fire (type: 'message', properties: { readonly data: unknown }): void
  /** A renewal was refused. */
  onRefusal (error: unknown): void
  onEnd (outcome: Outcome): void
}

type Address = () => string | PromiseLike<string>

export class Link implements Renewable {
  readonly scope = new Scope()
  declare readonly settings: Settings
  readonly #address: Address
  readonly #own: readonly string[]
  declare readonly owner: LinkOwner
  readonly renewals = new Renewals(this)
  socket: SocketLike | null = null
  url = ''
  /** The token of the connection; none if it has a cookie or a ticket alone. */
  declare token: string | null | undefined
  isOpen = false
  /** Whether the server speaks auth frames on this connection. */
  hasFrames = false
  #silence = startWatch()
  /** The silence in which a sign of life was asked for. */
  #probed: (() => number) | undefined
  /** What `auth.retry` said, in milliseconds. */
  #most: number | undefined
  /** The timers of the present handshake. */
  #opening = new Scope()
  #settleOpening!: (outcome?: Outcome) => void

  /** @param address the address of the server; @param own the subprotocols of the app */
  constructor (settings: Settings, address: Address, own: readonly string[], owner: LinkOwner) {
    this.settings = settings
    this.#address = address
    this.#own = own
    this.owner = owner
  }

  /** Opens the connection. If a credential is refused, the next one is tried. */
  async start (): Promise<void> {
    const { wallet, ticket, finals } = this.settings
    for (;;) {
      const outcome = await this.#attempt().catch((error: unknown) => outcomeOf({ error }))
      if (this.scope.isOver || !outcome) return
      const { action, end } = outcome
      if (action === 'ask') {
        wallet.refuse(end.reason === 'ticket_invalid' ? undefined : this.token, end.reason)
        if (wallet.refusals < 2 && (this.token || ticket)) continue
        return this.#finish({ ...outcome, action: 'refuse' })
      }
      if (action && this.token) {
        finals?.set(this.url, [this.token, end.reason])
        wallet.forget()
      }
      return this.#finish(outcome)
    }
  }

  /** Asks for a sign of life, and ends the connection if there is none. */
  probe (): void {
    const silence = this.#silence
    if (!this.isOpen || !this.hasFrames || silence() < SILENCE || this.#probed === silence) return
    this.#probed = silence
    this.socket?.send('{"type":"auth.ping"}')
    this.scope.after(this.settings.answer, () => { if (this.#silence === silence) this.lose() })
  }

  sendFrame (frame: object): void {
    this.socket?.send(JSON.stringify({ type: 'auth', ...frame }))
  }

  /** Ends the connection without an event. @throws the error of the socket for a wrong code */
  stop (code = 1000, reason = ''): void {
    this.socket?.close(code, reason)
    this.#release()
  }

  async getTicket (why: CredentialRequest['why']): Promise<string> {
    const { ticket, end, action } = await this.#requestTicket(why)
    if (typeof ticket === 'string') return ticket
    // An app without tickets has no path for them.
    throw !action && end.status !== 404 ? new Error(end.hint) : new WsAuthClientError(end.reason)
  }

  async #requestTicket (why: CredentialRequest['why'], token?: string): Promise<Outcome> {
    const { ticket, wallet, credential, fetch } = this.settings
    return await this.scope.within(credential, async (signal) => {
      const refused = outcomeOf({ reason: 'token_missing' }, 'refuse')
      if (typeof ticket === 'function') return { ...refused, ticket: readCredential(await ticket(wallet.requestOf(why, signal)))?.[0] }
      return fetch ? await request(fetch, 'POST', this.url, token, signal, typeof ticket === 'string' ? ticket : '/ws-ticket') : refused
    })
  }

  /** One handshake. @returns how it failed, or nothing if the connection is open */
  async #attempt (): Promise<Outcome | undefined> {
    const { scope, settings } = this
    const { wallet, via, fetch, credential, answer, finals } = settings
    this.url = addressOf(await scope.within(credential, this.#address))
    if (scope.isOver) return
    const token = this.token = await wallet.get('connect')
    const { refused } = wallet
    if (token === null) return outcomeOf({ reason: refused?.[1] ?? 'token_missing' }, 'refuse')
    for (const known of [refused, finals?.get(this.url)]) if (token && token === known?.[0]) return outcomeOf({ reason: known[1] }, 'refuse')
    let ticket: string | undefined
    if (settings.ticket) {
      const got = await this.#requestTicket(refused ? 'rejected' : 'connect', token)
      if (typeof got.ticket !== 'string') return got
      ticket = got.ticket
    }
    if (scope.isOver) return
    const outcome = await new Promise<Outcome | undefined>((resolve) => {
      this.#settleOpening = resolve
      this.#open(settings.create(...writeHandshake(this.url, this.#own, via, token, ticket)), via === 'message' && token)
    })
    if (outcome?.end.code !== 1006 || !fetch) return outcome
    let { url } = this
    if (ticket) {
      // It may be spent: the dry run needs another one, and spends none.
      const got = await this.#requestTicket('connect', token)
      if (typeof got.ticket !== 'string') return got
      url = withQuery(url, 'ticket', got.ticket)
    }
    return await scope.within(answer, (signal) => request(fetch, 'GET', url, ticket ? undefined : token, signal)).catch((error: unknown) => outcomeOf({ error, hint: 'no dry run: see network, CORS and CSP' }))
  }

  /** @param first the token that is the first message */
  #open (socket: SocketLike, first: string | false | undefined): void {
    const opening = this.#opening = new Scope()
    opening.after(this.settings.connect, () => this.lose())
    this.socket = socket
    this.#most = undefined
    this.owner.prepare(socket)
    socket.onopen = () => {
      if (first) this.sendFrame({ token: first })
      // A public route, and a server whose option `renewal` is off, say nothing.
      else opening.after(DELAY, () => this.#becomeOpen())
    }
    socket.onmessage = ({ data }: { data: unknown }) => this.#onMessage(data)
    socket.onclose = ({ code, reason }: { code: number, reason: string }) => this.lose(code, reason)
    // Some sockets have no close event after a failed handshake, others none after an error.
    socket.onerror = () => this.isOpen ? this.scope.after(DELAY, () => this.lose()) : this.lose()
  }

  #onMessage (data: unknown): void {
    this.#silence = startWatch()
    const frame = readFrame(data)
    if (!frame) {
      if (!this.isOpen) this.#becomeOpen()
      if (!this.scope.isOver) this.owner.fire('message', { data })
      return
    }
    const { type, connection, expiresIn, within } = frame
    if (type === 'auth.retry') this.#most = within
    else this.renewals.onFrame(frame)
    if (type !== 'auth.ok') return
    this.hasFrames = true
    this.#becomeOpen(connection, expiresIn)
  }

  /** The connection is open, or goes on. */
  #becomeOpen (id: string | null = null, expiresIn: number | null = null): void {
    this.#opening.end()
    this.settings.wallet.accept(this.token, expiresIn)
    this.isOpen = true
    this.owner.onOpen({ id, expiresIn })
    this.#settleOpening()
  }

  /** The socket has closed, or is dropped because it does not answer. */
  lose (code = 1006, reason = ''): void {
    const { isOpen: wasOpen } = this
    const outcome = { ...outcomeOf({ code, reason, wasOpen }), most: this.#most }
    this.#detach()
    if (!wasOpen) return this.#settleOpening(outcome)
    if (outcome.action === 'ask') this.settings.wallet.refuse(this.token, reason)
    this.#finish(outcome)
  }

  #finish (outcome: Outcome): void {
    this.#release()
    this.owner.onEnd(outcome)
  }

  #release (): void {
    this.#detach()
    this.isOpen = false
    this.scope.end()
  }

  /** The listener for errors stays, because ws throws an error without one. */
  #detach (): void {
    this.#opening.end()
    const { socket } = this
    if (!socket) return
    this.socket = socket.onopen = socket.onmessage = socket.onclose = null
    socket.onerror = () => {}
    try {
      socket.close()
    } catch {}
  }
}
