/*
 * The renewals of one connection: when the server gives the hint, the next credential goes to it in an auth frame.
 */
import { WsAuthClientError } from './error'
import type { AuthFrame } from './frames'
import { startWatch } from './runtime'
import type { Scope } from './runtime'
import type { Settings } from './settings'
import { isOfCredential, wordOf } from './verdict'

/** If no hint came until this part of a life, the client renews by itself. */
const FALLBACK_PART = 0.95
/** A rest of a life that is shorter is left, in milliseconds. */
const SHORTEST_REST = 1000

/** The connection that is renewed. */
export interface Renewable {
  readonly scope: Scope
  readonly settings: Settings
  readonly hasFrames: boolean
  token: string | null | undefined
  sendFrame (frame: object): void
  /** @returns a ticket. @throws WsAuthClientError if the server refuses */
  getTicket (why: 'renew' | 'rejected'): Promise<string>
  /** Ends the connection. */
  lose (code: number, reason: string): void
  readonly owner: { onRefusal (error: unknown): void }
}

export class Renewals {
  readonly #link: Renewable
  #id = 0
  #renewing: Promise<void> | null | undefined
  #isKept = false
  #onAnswer: ((frame: AuthFrame) => void) | undefined
  #cancelPlan: (() => void) | undefined
  /** The rest of the life of the token, in milliseconds. */
  #rest!: () => number

  constructor (link: Renewable) {
    this.#link = link
  }

  /** An answer to a renewal, or the hint that one is due. */
  onFrame (frame: AuthFrame): void {
    const { type, expiresIn } = frame
    if (type === 'auth.pong') return
    if (type !== 'auth.error') this.#begin(expiresIn ?? Infinity)
    if (type === 'auth.renew') void this.#keep()
    else this.#onAnswer?.(frame)
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
    this.#cancelPlan?.()
    if (life > SHORTEST_REST && life < Infinity) this.#plan(life * FALLBACK_PART)
  }

  /** Renews after a delay, unless something else is planned before. */
  #plan (delay: number): void {
    this.#cancelPlan?.()
    this.#cancelPlan = this.#link.scope.after(delay, () => { void this.#keep() })
  }

  /** Renews, and after a failure that may pass again and again until the end. */
  async #keep (): Promise<void> {
    if (this.#isKept) return
    this.#isKept = true
    const error = await this.renew().catch((error: unknown) => error) as Error | undefined
    this.#isKept = false
    if (!error || this.#link.scope.isOver) return
    if (error instanceof WsAuthClientError || this.#rest() < SHORTEST_REST) {
      // An app without tickets cannot renew so, and says nothing.
      if (error.message) this.#link.owner.onRefusal(error)
    } else this.#plan(Math.random() * Math.min(this.#rest(), 2 ** 31) / 4)
  }

  async #renew (why: 'renew' | 'rejected'): Promise<void> {
    const { hasFrames, settings: { wallet } } = this.#link
    if (!hasFrames) throw new WsAuthClientError('no renewal on this connection')
    const token = await wallet.get('renew')
    if (token === null) throw new WsAuthClientError('token_missing')
    const frame = await this.#ask(token === undefined ? { ticket: await this.#link.getTicket(why) } : { token })
    if (frame.type === 'auth.ok') return
    const word = frame.reason ?? wordOf(frame.code)
    if (word === 'other_subject') this.#link.lose(3000, word)
    if (isOfCredential(word)) {
      // The connection is still open: only refused handshakes count.
      wallet.refuse(token, word, 0)
      if (why === 'renew' && word !== 'token_revoked') return await this.#renew('rejected')
    }
    throw word === 'auth_unavailable' ? new Error(word) : new WsAuthClientError(word)
  }

  /** Sends an auth frame. @returns the answer. @throws if there is none in time */
  async #ask (credential: { readonly token?: string, readonly ticket?: string }): Promise<AuthFrame> {
    const id = ++this.#id
    return await this.#link.scope.within(this.#link.settings.answer, () => new Promise((resolve) => {
      this.#onAnswer = (frame) => {
        if ((frame.id ?? id) !== id) return
        if (frame.type === 'auth.ok' && credential.token) this.#link.token = credential.token
        resolve(frame)
      }
      this.#link.sendFrame({ ...credential, id })
    }))
  }
}
