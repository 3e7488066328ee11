/*
 * What must hold in each run of the model, kept as a book: who is logged in, which credential counts, what was refused, what was sent.
 */
import type { AbortSignalLike, CredentialRequest, End, State } from '../../../lib/client/index'
import type { FakeSocket } from './fake-socket'
import type { Lab } from './lab'
import type { Told } from './table'

interface Call {
  readonly why: string
  readonly signal: AbortSignalLike
  isOver: boolean
}

interface Given {
  readonly token: string
  life: number
  at: Instant
  isDropped: boolean
}

interface Instant { readonly steady: number, readonly wall: number }

export class Ledger {
  readonly #lab: Lab
  /** How many times a user has logged in: with each `reconnect()`. */
  user = 0
  calls: Call[] = []
  /** The last credential that was given to a call that was still wanted. */
  given: Given | null = null
  /** The token that was refused last. `null` is a cookie or a ticket. */
  refused: { readonly token: string | null } | null = null
  refusals = 0
  told: Told = { within: null, least: 0 }
  readonly spent = new Set<string>()
  /** Whether the socket is closed or refused, and may do nothing. */
  isSealed = false
  violation: string | null = null
  /** What the class sends no second time. */
  readonly #finals = new Set<string>()
  readonly log: string[] = []

  /** Whether several connections share the tokens: then each may be refused twice. */
  isShared = false
  /** Whether the story is written down. */
  readonly #isVerbose: boolean

  constructor (lab: Lab, isVerbose: boolean) {
    this.#lab = lab
    this.#isVerbose = isVerbose
  }

  note (text: () => string): void {
    if (this.#isVerbose) this.log.push(`${this.#lab.clock.now}: ${text()}`)
  }

  /** The first thing that must not be. It is thrown at the end of the step, not into the client. */
  fail (text: string): void {
    this.violation ??= text
    this.note(() => `VIOLATION ${text}`)
  }

  must (isTrue: boolean, text: string): void {
    if (!isTrue) this.fail(text)
  }

  instant (): Instant {
    const { now, skew } = this.#lab.clock
    return { steady: now, wall: now + skew }
  }

  age ({ steady, wall }: Instant): number {
    const now = this.instant()
    return Math.max(now.steady - steady, now.wall - wall)
  }

  get liveCalls (): Call[] {
    return this.calls.filter(({ isOver, signal }) => !isOver && !signal.aborted)
  }

  startCall ({ why, code, signal }: CredentialRequest): Call {
    this.note(() => `token call ${why} ${code}`)
    this.must(!this.isSealed, `a token call (${why}) after the end`)
    this.must(this.liveCalls.length === 0, 'two token calls at a time')
    this.must(!signal.aborted, 'a token call that nobody wants')
    if (why === 'connect') this.must(!this.isGood(), 'a token call although the token is good')
    if (why === 'rejected') this.must(this.refused !== null, 'rejected without a refusal')
    this.must(why !== 'rejected' || /^WS_AUTH_T(?:OKEN|ICKET)_[A-Z]+$/.test(String(code)), `${why} with the code ${code}`)
    const call = { why, signal, isOver: false }
    this.calls.push(call)
    if (this.calls.length > 500) throw new Error('token calls without end')
    return call
  }

  /** A call has its answer. @param token `null` if it is none */
  give (call: Call, token: string | null, life: number): void {
    call.isOver = true
    this.note(() => `given ${token}${call.signal.aborted ? ', too late' : ''}`)
    if (!call.signal.aborted && token !== null) this.given = { token, life, at: this.instant(), isDropped: false }
  }

  isGood (): boolean {
    return this.given !== null && !this.given.isDropped && !this.#finals.has(this.given.token) && this.age(this.given.at) < this.given.life * 0.9
  }

  /** The server has refused a credential. */
  refuse (token: string | null, { isCounted = true } = {}): void {
    this.note(() => `refused ${token}`)
    if (this.refused === null || token === null || this.refused.token !== token) {
      this.refused = { token }
      this.drop()
      this.refusals++
    }
    if (!isCounted) this.refusals = 0
  }

  /** The client need not keep the token. */
  drop (): void {
    if (this.given === null) return
    this.given.isDropped = true
    if (this.isShared) this.#finals.add(this.given.token)
  }

  accept (token: string | null, life: number | null): void {
    this.refused = null
    this.refusals = 0
    if (life !== null && this.given !== null && this.given.token === token) this.given.life = this.age(this.given.at) + life
  }

  /** `reconnect()`: another user may be logged in. */
  logIn (): void {
    this.user++
    this.given = this.refused = null
    this.refusals = 0
    this.isSealed = false
  }

  /** A token is used: in a handshake, a frame, or a request. */
  use (token: string | null, hasTokens: boolean, where: string): void {
    this.must(!this.isSealed, `${where} after the end`)
    if (!hasTokens) return this.must(token === null, `${where} with a token that nobody gave`)
    this.must(token !== null && token === this.given?.token, `${where} with ${token}, not with ${this.given?.token}`)
    this.must(token?.startsWith(`secret-${this.user}-`) === true, `${where} as a former user: ${token}`)
    if (where === 'handshake' || where === 'request') {
      this.must(this.refused === null || this.refused.token !== token, `${where} with a refused token`)
      this.must(this.isShared || this.refusals < 2, `${where} after two refusals`)
    }
  }

  spend (ticket: string): void {
    this.must(!this.spent.has(ticket), 'a ticket is used twice')
    this.spent.add(ticket)
  }

  /** No token is in what the app can see. */
  keepSecret (value: unknown, where: string): void {
    const text = value instanceof Error ? `${value.message} ${JSON.stringify(value)}` : JSON.stringify(value)
    this.must(text === undefined || !text.includes('secret-'), `a token is in ${where}: ${text}`)
  }

  checkSecrets (state: State): void {
    this.keepSecret(state, 'a state')
    const end: End | null = 'end' in state ? state.end : null
    if (end?.error !== undefined) this.keepSecret(end.error, 'an error of a state')
  }
}

/** The token that a handshake carries; `null` if there is none. */
export function tokenOf ({ protocols, url, headers }: FakeSocket): string | null {
  const at = protocols.indexOf('bearer')
  const inUrl = /[?&]token=([^&]*)/.exec(url)?.[1]
  if (at >= 0) return protocols[at + 1] ?? null
  if (headers.authorization !== undefined) return headers.authorization.replace('Bearer ', '')
  return inUrl === undefined ? null : decodeURIComponent(inUrl)
}
