/*
 * The token of a client: it is asked for once at a time, and kept while it is good.
 */
import { Scope, startWatch } from './runtime'
import type { Ask, Credential, CredentialRequest, WsAuthErrorCode } from './types'

/** The part of its life for which a token is kept. */
const KEPT_PART = 0.9

/** Checks a credential. @returns its text and its life in milliseconds. @throws TypeError if it is none */
export function readCredential (credential: Credential): readonly [token: string, life: number] | null {
  if (credential === null) return null
  const { token, expiresIn = Infinity } = Object(typeof credential === 'string' ? { token: credential } : credential) as { token?: unknown, expiresIn?: unknown }
  if (typeof token === 'string' && token !== '' && typeof expiresIn === 'number' && expiresIn >= 0) return [token, expiresIn]
  throw new TypeError('no credential: a string, { token, expiresIn } or null')
}

export class Wallet {
  readonly #ask: Ask | undefined
  readonly #timeout: number
  /** The token that is kept, its age and its whole life, in milliseconds. */
  #kept: [token: string, age: () => number, life: number] | null | undefined
  #call: Promise<string | null> | null | undefined
  #scope = new Scope()
  /** The token that was refused last, and the word of the refusal. */
  refused: readonly [token: string | null | undefined, word: string] | null | undefined
  /** How many credentials were refused in a row. */
  refusals = 0

  constructor (ask: Ask | undefined, timeout: number) {
    this.#ask = ask
    this.#timeout = timeout
  }

  /** The token that is kept, else that of a call; `null` if no user is logged in, `undefined` if there is no function. @throws the error of the function */
  async get (why: 'connect' | 'renew'): Promise<string | null | undefined> {
    if (!this.#ask) return
    if (why === 'connect' && this.#kept && this.#kept[1]() < this.#kept[2] * KEPT_PART) return this.#kept[0]
    return await (this.#call ??= this.#start(this.#ask, why))
  }

  /** What a function for a credential is told. */
  requestOf (why: CredentialRequest['why'], signal: CredentialRequest['signal']): CredentialRequest {
    return { why, code: this.refused ? `WS_AUTH_${this.refused[1].toUpperCase()}` as WsAuthErrorCode : null, signal }
  }

  /**
   * A token was refused; `undefined` for a ticket, which says nothing about the token. A call from before may bring the same one, and is ended.
   *
   * @param count what it adds to `refusals`: none at a renewal, because the connection is still open
   */
  refuse (token: string | null | undefined, word: string, count = 1): void {
    if (token) {
      if (this.refused?.[0] === token) return
      this.end()
    }
    this.refused = [token, word]
    this.refusals += count
  }

  /** A token was accepted. @param life the rest of its life, in milliseconds, if the server has told it */
  accept (token?: string | null, life?: number | null): void {
    this.refusals = 0
    this.refused = null
    // A part of the rest would come nearer to the end each time that the client comes back.
    if (this.#kept && this.#kept[0] === token && life != null) this.#kept[2] = this.#kept[1]() + life
  }

  /** Forgets the token. */
  forget (): void {
    this.#kept = null
  }

  /** Forgets all, and ends the call. */
  reset (): void {
    this.end()
    this.accept()
  }

  /** Forgets the token, and ends the call. */
  end (): void {
    this.#kept = this.#call = null
    this.#scope.end()
    this.#scope = new Scope()
  }

  async #start (ask: Ask, why: 'connect' | 'renew'): Promise<string | null> {
    const scope = this.#scope
    try {
      const credential = await scope.within(this.#timeout, async (signal) => readCredential(await ask(this.requestOf(this.refused && !this.#kept ? 'rejected' : why, signal))))
      if (scope.isOver) throw new Error('superseded')
      if (credential === null) return null
      this.#kept = [credential[0], startWatch(), credential[1]]
      return credential[0]
    } finally {
      if (!scope.isOver) this.#call = null
    }
  }
}
