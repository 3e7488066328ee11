/*
 * The renewals of one connection: when the server gives the hint, the next credential goes to it in an auth frame.
 */
import { WsAuthClientError } from './error'
import type { AuthFrame } from './frames'
import { startWatch } from './runtime'
import type { Scope } from './runtime'
import type { Settings } from './settings'
import { getTicket } from './ticket'
import { actionOf, wordOf } from './verdict'

/** If no hint came until this part of a life, the client renews by itself. */
const FALLBACK_PART = 0.95
/** A rest of a life that is shorter is left, in milliseconds. */
const SHORTEST_REST = 1000

type Credential = { readonly token: string } | { readonly ticket: string }

/** The connection that is renewed. */
export interface Renewable {
  readonly scope: Scope
  readonly settings: Settings
  readonly url: string
  readonly hasFrames: boolean
  token: string | null
  sendFrame (frame: string): void
  /** The credential is good, but of another user. */
  changeUser (): void
  onRenewalRefused (error: unknown): void
}

export class Renewals {
  readonly #link: Renewable
  #ids = 0
  #renewing: Promise<void> | null = null
  #isKeeping = false
  #onAnswer: (frame: AuthFrame) => void = () => {}
  #cancelFallback: () => void = () => {}
  #life = Infinity
  #age = startWatch()

  constructor (link: Renewable) {
    this.#link = link
  }

  /** An answer to a renewal, or the hint that one is due. */
  onFrame (frame: AuthFrame): void {
    if (frame.type !== 'auth.renew') return this.#onAnswer(frame)
    if (typeof frame.expiresIn === 'number') this.#setLife(frame.expiresIn)
    void this.#keepRenewing()
  }

  /** A life of so many milliseconds begins. */
  schedule (life: number | null): void {
    this.#cancelFallback()
    this.#setLife(life ?? Infinity)
    if (life !== null && life > SHORTEST_REST) this.#cancelFallback = this.#link.scope.after(life * FALLBACK_PART, () => { void this.#keepRenewing() })
  }

  /** Renews once; a call during another one shares it. @throws WsAuthClientError, or the error of the function for the credential */
  renew (): Promise<void> {
    this.#renewing ??= this.#renew().finally(() => { this.#renewing = null })
    return this.#renewing
  }

  #setLife (life: number): void {
    this.#life = life
    this.#age = startWatch()
  }

  /** Renews, and after a failure that may pass again and again until the end. */
  async #keepRenewing (): Promise<void> {
    if (this.#isKeeping) return
    this.#isKeeping = true
    for (;;) {
      try {
        await this.renew()
        break
      } catch (error) {
        if (this.#link.scope.isOver) return
        const rest = this.#life - this.#age()
        if (isFinal(error) || rest < SHORTEST_REST) {
          this.#link.onRenewalRefused(error)
          break
        }
        await new Promise<void>((resolve) => this.#link.scope.after(Math.random() * Math.min(rest, 2 ** 31) / 4, resolve))
      }
    }
    this.#isKeeping = false
  }

  async #renew (): Promise<void> {
    const { wallet } = this.#link.settings
    if (!this.#link.hasFrames) throw new WsAuthClientError('the server does not renew this connection', 'forbidden')
    for (let isSecond = false; ; isSecond = true) {
      const credential = await this.#getCredential(isSecond)
      const answer = await this.#ask(credential)
      if (answer.type === 'auth.ok') return
      const word = wordOf(answer.code)
      if (answer.reason === 'other_subject') this.#link.changeUser()
      else if (actionOf({ code: 1006, reason: word, wasOpen: true, status: 0 }) === 'ask') {
        wallet.refuse('token' in credential ? credential.token : null, word)
        wallet.refusals = 0
        if (!isSecond && word !== 'token_revoked') continue
      }
      throw new WsAuthClientError(`the server refused the renewal: ${answer.reason ?? word}`, answer.reason ?? word)
    }
  }

  /** The next token, or a ticket for the cookies of the page. */
  async #getCredential (isSecond: boolean): Promise<Credential> {
    const { settings, scope, url } = this.#link
    if (settings.wallet.canAsk) {
      const token = await settings.wallet.get('renew')
      if (token === null) throw new WsAuthClientError('there is no credential', 'token_missing')
      return { token }
    }
    if (settings.fetch === null && typeof settings.ticket !== 'function') throw new WsAuthClientError('there is no credential', 'token_missing')
    const ticket = await getTicket(settings, scope, url, null, isSecond ? 'rejected' : 'renew')
    if (typeof ticket === 'string') return { ticket }
    const { reason, hint = '', status = 0 } = ticket.end
    throw new WsAuthClientError(hint, reason === '' && status === 404 ? 'forbidden' : reason, null)
  }

  /** Sends an auth frame. @returns the answer. @throws if there is none in time */
  async #ask (credential: Credential): Promise<AuthFrame> {
    const { scope, settings } = this.#link
    const id = ++this.#ids
    return await scope.within(settings.answerTimeout, 'the answer to a renewal', async () => await new Promise((resolve) => {
      this.#onAnswer = (frame) => {
        if (frame.type === 'auth.pong' || (frame.id !== undefined && frame.id !== id)) return
        this.#onAnswer = () => {}
        if (frame.type === 'auth.ok' && 'token' in credential) this.#link.token = credential.token
        resolve(frame)
      }
      this.#link.sendFrame(JSON.stringify({ type: 'auth', ...credential, id }))
    }))
  }
}

/** Whether the server has refused for good. */
function isFinal (error: unknown): boolean {
  return error instanceof WsAuthClientError && error.reason !== '' && actionOf({ code: 1006, reason: error.reason, wasOpen: true, status: 0 }) !== 'crowd'
}
