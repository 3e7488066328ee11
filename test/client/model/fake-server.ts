/*
 * The other side of the model: what the app's function for tokens, the server and the network do, as the tape says.
 */
import type { Ask, Credential, FetchLike } from '../../../lib/client/index'
import type { FakeSocket } from './fake-socket'
import type { Lab } from './lab'
import { tokenOf } from './ledger'
import type { Ledger } from './ledger'
import { ENDS, expectedAction } from './table'
import type { Tape } from './tape'

const LIVES = [60_000, 5000, 600_000, null, 900, 100_000]
const ANSWERS: ReadonlyArray<readonly [status: number, code: string | null, seconds?: string]> = [
  [426, null], [401, 'WS_AUTH_TOKEN_EXPIRED'], [401, 'WS_AUTH_TOKEN_REVOKED'], [403, 'WS_AUTH_FORBIDDEN'], [401, null], [403, null], [404, null], [200, null],
  [429, 'WS_AUTH_LIMIT', '3'], [503, 'WS_AUTH_BUSY', '7'], [503, 'WS_AUTH_UNAVAILABLE', 'soon'], [500, null, '2'], [400, 'WS_AUTH_HANDSHAKE_INVALID'], [502, null]
]

interface Request { readonly signal: { readonly aborted: boolean }, isOver: boolean }

export class FakeServer {
  readonly #lab: Lab
  readonly #tape: Tape
  readonly ledger: Ledger
  hasTokens = true
  hasTickets = false
  isFirstMessage = false
  isQuery = false
  #count = 0
  /** Whether the present attempt may still be told by `Retry-After` when to come back. */
  isConnecting: () => boolean = () => true
  readonly requests: Request[] = []
  /** Messages that the app must get, in order. */
  readonly toApp: string[] = []
  /** The function for the token was called. */
  onCall: () => void = () => {}
  onAppMessage: (data: string) => void = () => {}
  accepted = new WeakSet<FakeSocket>()
  tokens = new WeakMap<FakeSocket, string | null>()
  /** The renewals that wait for an answer. */
  readonly #pending = new WeakMap<FakeSocket, { readonly id: number, readonly token: string | null, readonly sentAt: number }>()
  /** Sockets on which the server has shown that it speaks frames. */
  readonly #speaking = new WeakSet<FakeSocket>()

  constructor (lab: Lab, tape: Tape, ledger: Ledger) {
    this.#lab = lab
    this.#tape = tape
    this.ledger = ledger
  }

  get liveRequests (): Request[] {
    return this.requests.filter(({ isOver, signal }) => !isOver && !signal.aborted)
  }

  /** A socket to which the client listens. */
  get live (): FakeSocket | undefined {
    return this.#lab.sockets.find((socket) => socket.isLive)
  }

  /** The function of the app. */
  readonly token: Ask = (request) => {
    const call = this.ledger.startCall(request)
    this.onCall()
    return this.#answer(call, this.#tape.draw(32))
  }

  #answer (call: ReturnType<Ledger['startCall']>, kind: number): Credential | PromiseLike<Credential> {
    const { clock } = this.#lab
    const give = (token: string | null, life = Infinity): string | null => { this.ledger.give(call, token, life); return token }
    const late = async <T> (delay: number, value: () => T): Promise<T> => await new Promise<void>((resolve) => clock.plan(delay, resolve)).then(value)
    const fresh = (): string => give(`secret-${this.ledger.user}-${++this.#count}`) as string
    const none = (value: unknown): Credential => { give(null); return value as Credential }
    const shaped = (life: unknown): Credential => {
      const token = `secret-${this.ledger.user}-${++this.#count}`
      give(typeof life === 'number' && life >= 0 ? token : null, life as number)
      return { token, expiresIn: life as number }
    }
    switch (kind) {
      case 0: return fresh()
      case 20: return late(this.#tape.pick([10, 500, 3000]), fresh)
      case 21: return give(this.ledger.given?.token ?? `secret-${this.ledger.user}-${++this.#count}`)
      case 22: return none(null)
      case 23: return late(10, () => { give(null); throw new Error('the token endpoint is down') })
      case 24: give(null); throw new Error('thrown at once')
      case 25: return new Promise(() => {})
      case 26: return late(this.#tape.pick([10_001, 12_000, 25_000]), fresh)
      case 27: return none(this.#tape.pick<unknown>([undefined, '', 7, { token: '' }, { expiresIn: 5 }, ['secret-x']]))
      case 28: return shaped(this.#tape.pick([5000, 60_000, 1, 0]))
      case 29: return shaped(this.#tape.pick<unknown>([-1, NaN, '5', null]))
      case 30: return late(this.#tape.pick([10, 9000]), () => shaped(30_000))
      case 31: return { then: () => { give(null); throw new Error('a thenable that throws') } }
      default: return Promise.resolve().then(fresh)
    }
  }

  /** The network, or the server, as a handshake finds it. */
  readonly create = (url: string, protocols: string[], headers: Record<string, string>): FakeSocket => {
    const { ledger } = this
    ledger.must(ledger.isShared || this.live === undefined, 'two sockets at a time')
    const socket = this.#lab.create(url, protocols, headers)
    const token = tokenOf(socket)
    const ticket = /[?&]ticket=([^&]*)/.exec(url)?.[1]
    ledger.note(() => `handshake ${token ?? ticket ?? '(none)'}`)
    Object.assign(ledger.told, { within: null, least: 0 })
    if (!this.isFirstMessage && !this.hasTickets) ledger.use(token, this.hasTokens, 'handshake')
    ledger.must(!ledger.isSealed, 'a handshake after the end')
    ledger.must((ticket !== undefined) === this.hasTickets, 'a handshake without its ticket')
    if (ticket !== undefined) ledger.spend(ticket)
    ledger.must(this.isQuery || !url.includes('secret-'), 'a token in the URL')
    this.tokens.set(socket, token ?? (this.hasTokens ? ledger.given?.token ?? null : null))
    socket.closeDelay = this.#tape.pick([20, 20, 3000, null])
    socket.onSent = (data) => this.#onSent(socket, data)
    this.#play(socket, this.#tape.draw(40))
    return socket
  }

  #play (socket: FakeSocket, kind: number): void {
    const { clock } = this.#lab
    const soon = this.#tape.pick([20, 0, 400])
    const own = socket.protocols.find((each) => each === 'own') ?? ''
    const then = (run: () => void, delay = soon): void => clock.plan(delay, () => { if (!socket.isOver) run() })
    const [code, word] = this.#tape.pick(ENDS.filter(([code]) => code !== 1006))
    if (kind === 21) { this.#lab.sockets.pop(); throw Object.assign(new Error('no socket'), { name: 'Error' }) }
    if (kind === 22) { this.#lab.sockets.pop(); throw new DOMException('no such address', 'SyntaxError') }
    const plays: Record<number, () => void> = {
      10: () => { then(() => socket.open(own)); then(() => this.#ok(socket), soon + 10) },
      11: () => { then(() => socket.open(own)); then(() => this.app(socket), soon + 10) },
      12: () => { then(() => socket.open(own)) },
      13: () => { then(() => socket.open('')); then(() => this.#ok(socket), soon + 1500) },
      14: () => { then(() => socket.open()) },
      15: () => { then(() => socket.fail({ hasClose: false })) },
      16: () => { then(() => socket.drop()) },
      17: () => { then(() => socket.fail()) },
      18: () => {},
      19: () => { then(() => this.#accept(socket), 15_001) },
      20: () => { then(() => this.#accept(socket), 14_000) },
      23: () => { then(() => socket.open()); then(() => this.app(socket), soon + 10); then(() => this.#ok(socket), soon + 20) }
    }
    if (kind >= 24 && kind < 32) {
      then(() => socket.open(this.#tape.pick(['ws-auth', own])))
      then(() => { if (kind === 24) this.retry(socket, 4000) }, soon + 5)
      then(() => this.end(socket, code, word), soon + 10)
    } else (plays[kind] ?? (() => then(() => this.#accept(socket))))()
  }

  #accept (socket: FakeSocket): void {
    socket.open()
    this.#speaking.add(socket)
    this.#ok(socket)
  }

  #ok (socket: FakeSocket, id?: unknown): void {
    const expiresIn = this.#tape.pick(LIVES)
    this.#speaking.add(socket)
    if (this.#hears(socket)) {
      this.ledger.accept(this.tokens.get(socket) ?? null, expiresIn)
      this.accepted.add(socket)
    }
    socket.frame('auth.ok', { connection: 'c', expiresIn, ...(id === undefined ? {} : { id }) })
  }

  /** Whether the client listens: `connect()` leaves a socket that it closes, and an instance waits for its end. */
  #hears (socket: FakeSocket): boolean {
    return this.ledger.isShared ? !socket.isOver && socket.onclose !== null : socket.isLive
  }

  /** A message of the app. */
  app (socket: FakeSocket): void {
    const data = this.#tape.pick([`m${++this.#count}`, `{"type":"auth-${++this.#count}"}`, `{"type":"auth.x${++this.#count}`])
    if (this.#hears(socket)) {
      this.toApp.push(data)
      this.accepted.add(socket)
    }
    socket.message(data)
  }

  retry (socket: FakeSocket, within: number): void {
    if (this.#hears(socket)) this.ledger.told.within = within
    socket.frame('auth.retry', { within })
  }

  hint (socket: FakeSocket): void {
    socket.frame('auth.renew', { expiresIn: this.#tape.pick([5000, 100_000, 500]) })
  }

  /** The server or the network ends a connection. */
  end (socket: FakeSocket, code: number, reason: string): void {
    const wasLive = this.#hears(socket)
    this.ledger.note(() => `${wasLive ? '' : '(late) '}close ${code} ${reason}`)
    if (wasLive && expectedAction({ code, reason, wasOpen: true }) === 'ask') {
      // What it said before counts for no later handshake of the same attempt.
      if (this.isConnecting()) this.ledger.told.within = null
      this.ledger.refuse(reason === 'ticket_invalid' ? null : this.tokens.get(socket) ?? null)
    }
    // It stops here, unless `shouldReconnect` decides otherwise.
    if (wasLive && expectedAction({ code, reason, wasOpen: true }) === 'refuse') this.ledger.drop()
    socket.drop(code, reason)
  }

  #onSent (socket: FakeSocket, data: string): void {
    if (data === '{"type":"auth.ping"}') {
      if (this.#tape.draw(3) === 0) this.#lab.clock.plan(30, () => socket.frame('auth.pong'))
    } else if (data.startsWith('{"type":"auth",')) this.#onCredential(socket, JSON.parse(data) as { token?: string, ticket?: string, id?: number })
    else this.onAppMessage(data)
  }

  #onCredential (socket: FakeSocket, { token, ticket, id }: { token?: string, ticket?: string, id?: number }): void {
    const { ledger } = this
    ledger.note(() => `auth ${token ?? ticket} ${id}`)
    if (ticket !== undefined) ledger.spend(ticket)
    else ledger.use(token ?? null, this.hasTokens, id === undefined ? 'handshake' : 'frame')
    if (id === undefined) {
      this.#speaking.add(socket)
      return ledger.must(this.isFirstMessage, 'a frame without its number')
    }
    ledger.must(this.isFirstMessage || this.#speaking.has(socket) || socket.protocol === 'ws-auth', 'a frame to a server that speaks none')
    this.#pending.set(socket, { id, token: token ?? null, sentAt: this.#lab.clock.now })
    const kind = this.#tape.draw(12)
    this.#lab.clock.plan(this.#tape.pick([30, 0, 6000]), () => this.#judge(socket, id, kind))
  }

  /** The server answers to a renewal. */
  #judge (socket: FakeSocket, id: number, kind: number): void {
    if (socket.isOver || kind === 11) return
    const answersId = kind === 4 ? undefined : id
    const pending = this.#pending.get(socket)
    const isAwaited = pending !== undefined && (answersId === undefined || answersId === pending.id)
    if (isAwaited) this.#pending.delete(socket)
    if (kind < 5) {
      if (isAwaited && this.#hears(socket) && pending.token !== null) this.tokens.set(socket, pending.token)
      return this.#ok(socket, answersId)
    }
    const code = ['TOKEN_INVALID', 'TOKEN_EXPIRED', 'TOKEN_REVOKED', 'FORBIDDEN', 'TOKEN_INVALID', 'BUSY'][kind - 5] as string
    const isInTime = isAwaited && this.#hears(socket) && this.#lab.clock.now - pending.sentAt < 5000
    if (isInTime && kind < 8) this.ledger.refuse(pending.token, { isCounted: false })
    socket.frame('auth.error', { code: `WS_AUTH_${code}`, id, ...(kind === 9 ? { reason: 'other_subject' } : {}) })
  }

  /** Tickets and dry runs. */
  readonly fetch: FetchLike = async (url, { method, headers, signal }) => {
    const { ledger } = this
    const request: Request = { signal: signal as Request['signal'], isOver: false }
    const token = headers.authorization?.replace('Bearer ', '') ?? null
    ledger.note(() => `${method} ${url} ${token}`)
    ledger.must(!ledger.isSealed, 'a request after the end')
    ledger.must(!request.signal.aborted, 'a request that nobody wants')
    ledger.must(ledger.isShared || this.liveRequests.length === 0, 'two requests at a time')
    ledger.must(!url.includes('secret-'), 'a token in the URL of a request')
    // A renewal may have brought another token while the handshake was under way.
    const [, ticket] = /[?]ticket=(.+)/.exec(url) ?? []
    ledger.must((ticket !== undefined) === (method === 'GET' && this.hasTickets), 'a dry run without a ticket, or a request with one')
    // A ticket of its own, which no handshake has had, or gets.
    if (ticket !== undefined) {
      ledger.spend(ticket)
      ledger.must(token === null, 'a dry run with a ticket and a token')
    } else if (method === 'GET') ledger.must(ledger.isShared || token === (this.tokens.get(this.#lab.socket) ?? null), `a dry run with ${token}`)
    else ledger.use(token, this.hasTokens, 'request')
    ledger.told.least = 0
    if (this.isConnecting()) ledger.told.within = null
    this.requests.push(request)
    const kind = this.#tape.draw(20)
    const delay = this.#tape.pick([10, 0, 4000, 11_000])
    const isTicket = method === 'POST'
    return await new Promise((resolve, reject) => {
      if (kind === 19) return
      this.#lab.clock.plan(delay, () => {
        request.isOver = true
        if (kind === 18) reject(new TypeError('Failed to fetch'))
        else resolve(this.#respond(request, token, isTicket, kind))
      })
    })
  }

  #respond (request: Request, token: string | null, isTicket: boolean, kind: number): Awaited<ReturnType<FetchLike>> {
    const [status, code, seconds] = ANSWERS[isTicket ? kind : kind % ANSWERS.length] ?? [200, null]
    const hasTicket = isTicket && (kind === 0 || kind >= ANSWERS.length)
    const answer = { status: hasTicket ? 200 : status, code, ticket: hasTicket ? `ticket-${++this.#count}` : undefined }
    const wasWanted = !request.signal.aborted
    this.ledger.note(() => `answer ${answer.status} ${code}${wasWanted ? '' : ', too late'}`)
    if (wasWanted && this.isConnecting()) {
      this.ledger.told.least = hasTicket ? 0 : (Number(seconds) || 0) * 1000
      if (code !== null && [400, 403].includes(answer.status)) this.ledger.drop()
      if (code?.includes('TOKEN') === true && !hasTicket) this.ledger.refuse(token)
    }
    return {
      status: answer.status,
      headers: { get: (name) => name === 'retry-after' && !hasTicket ? seconds ?? null : null },
      json: async () => { if (code === null && !hasTicket) throw new SyntaxError('not JSON'); return { code, ticket: answer.ticket } }
    }
  }
}
