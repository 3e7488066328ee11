/*
 * The renewals of one connection: when the server gives the hint, the next credential goes to it in an auth frame.
 */
import { WsAuthClientError } from './error'
import type { AuthFrame } from './frames'
import { startWatch } from './runtime'
import type { Scope } from './runtime'
import type { Settings } from './settings'
import { wordOf } from './verdict'

/** If no hint came until this part of a life, the client renews by itself. */
const FALLBACK_PART = 0.95
/** A rest of a life that is shorter is left, in milliseconds. */
const SHORTEST_REST = 1000

/** The connection that is renewed. */
export interface Renewable {
  readonly scope: Scope
  readonly settings: Settings
  readonly hasFrames: boolean
  token: string | undefined
  sendFrame (frame: object): void
  /** @returns a ticket. @throws WsAuthClientError if the server refuses */
  getTicket (why: 'renew' | 'rejected', token?: string): Promise<string>
  /** The credential is good, but of another user. */
  changeUser (): void
  onRenewalRefused (error: unknown): void
}

export class Renewals {
  readonly #link: Renewable
  #id = 0
  #renewing: Promise<void> | null = null
  #isKept = false
  #onAnswer: (frame: AuthFrame) => void = () => {}
  #cancelFallback: () => void = () => {}
  /** The rest of the life of the token, in milliseconds. */
  #rest = (): number => Infinity

  constructor (link: Renewable) {
    this.#link = link
  }

  /** An answer to a renewal, or the hint that one is due. */
  onFrame (frame: AuthFrame): void {
    if (frame.type === 'auth.pong') return
    const isHint = frame.type === 'auth.renew'
    if (frame.type !== 'auth.error') this.#begin(frame.expiresIn ?? Infinity)
    if (isHint) void this.#keep()
    else this.#onAnswer(frame)
  }

  /** Renews once; a call during another one shares it. @throws WsAuthClientError, or the error of the function for the credential */
  async renew (): Promise<void> {
    try {
      await (this.#renewing ??= this.#renew('renew'))
    } finally {
      this.#renewing = null
    }
  }

  /** A life of so many milliseconds begins. */
  #begin (life: number): void {
    const age = startWatch()
    this.#rest = () => life - age()
    this.#cancelFallback()
    if (life > SHORTEST_REST && life < Infinity) this.#cancelFallback = this.#link.scope.after(life * FALLBACK_PART, () => { void this.#keep() })
  }

  /** Renews, and after a failure that may pass again and again until the end. */
  async #keep (): Promise<void> {
    if (this.#isKept) return
    this.#isKept = true
    const { scope } = this.#link
    let error: unknown
    for (let isDone = false; !isDone;) {
      error = await this.renew().catch((error: unknown) => error)
      isDone = error === undefined || scope.isOver || error instanceof WsAuthClientError || this.#rest() < SHORTEST_REST
      if (!isDone) await new Promise<void>((resolve) => scope.after(Math.random() * Math.min(this.#rest(), 2 ** 31) / 4, resolve))
    }
    this.#isKept = false
    if ((error as Error | undefined)?.message && !scope.isOver) this.#link.onRenewalRefused(error)
  }

  async #renew (why: 'renew' | 'rejected'): Promise<void> {
    const { hasFrames, settings: { wallet } } = this.#link
    if (!hasFrames) throw new WsAuthClientError('no renewal on this connection')
    const token = await wallet.get('renew')
    if (token === null) throw new WsAuthClientError('token_missing')
    const frame = await this.#ask(token === undefined ? { ticket: await this.#link.getTicket(why) } : { token })
    if (frame.type === 'auth.ok') return
    const word = frame.reason ?? wordOf(frame.code)
    if (word === 'other_subject') this.#link.changeUser()
    if (/^(token_|ticket_)/.test(word)) {
      wallet.refuse(token, word)
      // The connection is still open: only refused handshakes count.
      wallet.refusals = 0
      if (why === 'renew' && word !== 'token_revoked') return await this.#renew('rejected')
    }
    throw word === 'auth_unavailable' ? new Error(word) : new WsAuthClientError(word)
  }

  /** Sends an auth frame. @returns the answer. @throws if there is none in time */
  async #ask (credential: { readonly token?: string, readonly ticket?: string }): Promise<AuthFrame> {
    const id = ++this.#id
    return await this.#link.scope.within(this.#link.settings.answer, async () => await new Promise((resolve) => {
      this.#onAnswer = (frame) => {
        if (frame.id !== undefined && frame.id !== id) return
        if (frame.type === 'auth.ok' && credential.token !== undefined) this.#link.token = credential.token
        resolve(frame)
      }
      this.#link.sendFrame({ ...credential, id })
    }))
  }
}
