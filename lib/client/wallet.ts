/*
 * The token of a client: it is asked for once at a time, and kept while it is good.
 */
import { Scope, startWatch } from './runtime'
import type { Ask, Credential, CredentialRequest, WsAuthErrorCode } from './types'

/** The part of its life for which a token is kept. */
const KEPT_PART = 0.9

interface Kept {
  readonly token: string
  /** In milliseconds; `Infinity` if it is not known. */
  readonly life: number
  readonly age: () => number
}

type Waiting = readonly [resolve: (token: string | null) => void, reject: (error: unknown) => void]

interface Call {
  readonly why: CredentialRequest['why']
  readonly scope: Scope
}

/** Checks a credential. @throws TypeError if it is none */
export function readCredential (credential: Credential): { readonly token: string, readonly life: number } | null {
  if (credential === null) return null
  const { token, expiresIn: life = Infinity } = typeof credential === 'string' ? { token: credential } : Object(credential) as { token?: unknown, expiresIn?: unknown }
  if (typeof token === 'string' && token !== '' && typeof life === 'number' && life >= 0) return { token, life }
  throw new TypeError('a credential must be a string, { token, expiresIn } or null')
}

export class Wallet {
  readonly #ask: Ask | undefined
  readonly #timeout: number
  #kept: Kept | null = null
  #call: Call | null = null
  /** For all that wait for a token: a later call may take the place of the present one. */
  #waiting: Waiting[] = []
  /** The token that was refused last, and the word of the refusal. */
  refused: { readonly token: string | null, readonly word: string } | null = null
  /** How many credentials were refused in a row. */
  refusals = 0

  constructor (ask: Ask | undefined, timeout: number) {
    this.#ask = ask
    this.#timeout = timeout
  }

  /** Whether there are other credentials. */
  get canAsk (): boolean {
    return this.#ask !== undefined
  }

  /** The token that is kept, else that of a call, or `null` if no user is logged in. @throws the error of the function, or a TypeError */
  async get (why: 'connect' | 'renew'): Promise<string | null> {
    const kept = this.#kept
    if (why === 'connect' && kept !== null && kept.age() < kept.life * KEPT_PART) return kept.token
    return await new Promise((resolve, reject) => {
      this.#waiting.push([resolve, reject])
      const isRejected = this.refused !== null && kept === null
      // A call from before the refusal may bring the refused token.
      if (this.#call === null || (isRejected && this.#call.why !== 'rejected')) this.#start(isRejected ? 'rejected' : why)
    })
  }

  /** A token was refused. */
  refuse (token: string | null, word: string): void {
    if (this.#kept?.token === token) this.#kept = null
    this.refused = { token, word }
    this.refusals++
  }

  /** The server has told the life of a token, in milliseconds from now. */
  accept (token: string | null, life: number | null): void {
    this.refusals = 0
    this.refused = null
    if (this.#kept?.token === token && life !== null) this.#kept = { ...this.#kept, life, age: startWatch() }
  }

  /** Forgets all, and ends the call. */
  reset (): void {
    this.#kept = this.refused = null
    this.refusals = 0
    this.end()
  }

  /** Ends the call. */
  end (): void {
    this.#call?.scope.end()
    this.#call = null
    this.#waiting = []
  }

  #start (why: CredentialRequest['why']): void {
    this.#call?.scope.end()
    const call = this.#call = { why, scope: new Scope() }
    const age = startWatch()
    const code = why === 'rejected' ? `WS_AUTH_${this.refused?.word.toUpperCase()}` as WsAuthErrorCode : null
    const settle = (settleOne: (waiting: Waiting) => void): void => {
      if (this.#call !== call) return
      this.#call = null
      for (const waiting of this.#waiting.splice(0)) settleOne(waiting)
    }
    call.scope.within(this.#timeout, 'the function for the token', async (signal) => readCredential(await (this.#ask as Ask)({ why, code, signal }))).then((credential) => {
      if (this.#call === call && credential !== null) this.#kept = { ...credential, age }
      settle(([resolve]) => resolve(credential === null ? null : credential.token))
    }, (error: unknown) => settle(([, reject]) => reject(error)))
  }
}
