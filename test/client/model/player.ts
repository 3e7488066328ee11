/*
 * One run of the model of `connect()`: the tape says what happens, and the ledger what must hold. `play` throws at the first thing that
 * must not be.
 */
import { connect } from '../../../lib/client/index'
import type { AuthSocket, ConnectOptions, End, State } from '../../../lib/client/index'
import { FakeServer } from './fake-server'
import { FakeSignal, Lab } from './lab'
import { Ledger } from './ledger'
import { boundsOf, ENDS, expectedAction } from './table'
import { Tape } from './tape'

/** Longer than two handshakes with all their deadlines may take. */
const LONGEST_ATTEMPT = 2 * (10_000 + 10_000 + 10_000 + 15_000 + 5000) + 1000
const STABLE_AFTER = 10_000
const DAY = 86_400_000
const QUEUE = 12

type Event = Record<string, unknown>

export class Player {
  readonly #tape: Tape
  readonly #lab = new Lab()
  readonly ledger: Ledger
  readonly #server: FakeServer
  readonly #abort = new FakeSignal()
  #socket!: AuthSocket
  #depth = 0
  #opens = 0
  #closes = 0
  #since = 0
  /** Of the present wait. */
  #delay = 0
  #opened: { readonly steady: number, readonly wall: number } | null = null
  #attempt = 0
  #last = 'none'
  #isForced = false
  /** Whether `shouldReconnect` has decided in this step. */
  #hasDecided = false
  #mayComeEarly = false
  /** What `send` has accepted while the socket was not open. */
  #queued: string[] = []
  #delivered = 0
  #isSending = false
  #sends = 0
  /** Promises of the app that must settle, at the end at the latest. */
  #pending = 0
  readonly #iterators: Array<{ readonly expected: string[], readonly got: string[], readonly iterator: AsyncIterableIterator<unknown>, isOver: boolean }> = []
  readonly #unsubscribe: Array<() => void> = []

  constructor (bytes: Uint8Array, isVerbose: boolean) {
    this.#tape = new Tape(bytes)
    this.ledger = new Ledger(this.#lab, isVerbose)
    this.#server = new FakeServer(this.#lab, this.#tape, this.ledger)
    this.#lab.random = this.#tape.random
  }

  async play (): Promise<void> {
    this.#lab.install()
    try {
      this.#start()
      for (let steps = 0; !this.#tape.isOver && steps < 60; steps++) {
        await this.#step()
        this.#check()
      }
      await this.#settle()
    } finally {
      this.#lab.uninstall()
    }
  }

  #start (): void {
    const tape = this.#tape
    const options = this.#drawOptions()
    const kind = tape.draw(12)
    const url = 'wss://example.com/chat'
    const address = kind < 9 ? url : kind === 9 ? () => url : kind === 10 ? async () => url : () => { if (tape.draw(2) === 1) throw new Error('no address'); return url }
    this.#socket = connect(address, options)
    const socket = this.#socket
    this.#server.onCall = () => this.#commandWithin()
    this.#server.isConnecting = () => socket.state.status === 'connecting'
    this.#server.onAppMessage = (data) => this.#onDelivered(data)
    for (const type of ['open', 'message', 'close', 'error', 'state']) socket.addEventListener(type, (event: Event) => this.#on(type, event))
    this.#check()
  }

  #drawOptions (): ConnectOptions {
    const tape = this.#tape
    const server = this.#server
    const kind = tape.draw(16)
    const via = ([undefined, 'message', 'header', 'query', undefined] as const)[tape.draw(5)]
    server.hasTokens = kind !== 15
    server.hasTickets = kind === 14 || (kind === 15 && tape.draw(2) === 1)
    server.isFirstMessage = via === 'message' && server.hasTokens
    server.isQuery = via === 'query'
    return {
      token: server.hasTokens ? server.token : undefined,
      ticket: server.hasTickets ? tape.pick([true as const, '/tickets']) : undefined,
      via,
      protocols: tape.pick([[], ['own'], 'own']),
      create: server.create,
      fetch: server.hasTickets || kind < 12 ? server.fetch : tape.pick([server.fetch, false as const]),
      queue: tape.pick([0, QUEUE]),
      page: tape.draw(8) !== 7,
      signal: this.#abort,
      shouldReconnect: tape.draw(8) === 7 ? () => this.#decide() : undefined
    }
  }

  #decide (): boolean | undefined {
    const decision = this.#tape.pick([undefined, undefined, true, false])
    this.#isForced = decision !== undefined
    this.#hasDecided ||= this.#isForced
    if (decision === true) this.ledger.refusals = 0
    return decision
  }

  /* What happens. */

  async #step (): Promise<void> {
    const tape = this.#tape
    const kind = tape.draw(16)
    if (kind < 6) await this.#advance(tape.pick([1, 50, 300, 1000, 5000, 20_000, 61_000]))
    else if (kind < 10) this.#command()
    else {
      // Tasks of the runtime: no microtask is left when one begins.
      await this.#lab.flush()
      if (kind < 14) this.#serve()
      else this.#turnPage()
    }
  }

  async #advance (duration: number): Promise<void> {
    await this.#lab.clock.advance(duration, () => this.#check())
  }

  #command (): void {
    const socket = this.#socket
    const { ledger } = this
    const kind = this.#tape.draw(16)
    ledger.note(() => `command ${kind}`)
    if (kind < 5) this.#send()
    else if (kind === 5) this.#close()
    else if (kind < 8) this.#reconnect()
    else if (kind < 11) this.#await(socket.renew())
    else if (kind === 11) this.#await(socket.opened)
    else if (kind === 12) this.#iterate()
    else if (kind === 13) this.#pull()
    else if (kind === 14) this.#lab.clock.skew += this.#tape.pick([600_000, DAY, -DAY])
    else if (this.#tape.draw(3) === 2) this.#abortAll()
    else if (this.#unsubscribe.length === 0) this.#unsubscribe.push(socket.subscribe(() => ledger.keepSecret(socket.url, 'the URL')))
    else this.#unsubscribe.pop()?.()
  }

  #close (): void {
    const kind = this.#tape.draw(6)
    const before = this.#socket.state
    if (before.status === 'refused') this.ledger.isSealed = false
    if (kind === 5) {
      try {
        this.#socket.close(1005, 'no such code')
        this.ledger.must(this.#depth > 0 || this.#server.live === undefined, 'a wrong code was taken')
      } catch {
        this.ledger.must(this.#socket.state === before, 'a wrong code has changed the state')
        return
      }
    } else if (kind < 3) this.#socket.close()
    else if (kind === 3) this.#socket.close(4000, 'bye')
    else this.#socket[Symbol.dispose]()
    // A listener may have called reconnect().
    if (!this.#commanded) this.ledger.must(this.#socket.state.status === 'closed', 'close() does not close')
  }

  #abortAll (): void {
    if (this.#socket.state.status === 'refused') this.ledger.isSealed = false
    this.#abort.aborted = true
    this.#abort.dispatch('abort')
  }

  #reconnect (): void {
    if (!this.#abort.aborted) {
      this.ledger.logIn()
      this.#attempt = 0
      this.#opened = null
    }
    this.#mayComeEarly = true
    this.#socket.reconnect()
  }

  #send (): void {
    const { ledger } = this
    const data = `s${++this.#sends}`
    const [before, wasOpen] = [this.#delivered, this.#socket.readyState === 1]
    const wasIdle = this.#socket.state.status === 'paused' && this.#socket.state.why === 'idle'
    this.#isSending = true
    this.#queued.push(data)
    try {
      this.#socket.send(data)
      if (this.#delivered === before) ledger.must(!wasOpen || this.#server.live?.readyState !== 1, 'a message was not sent at once')
      ledger.must(this.#socket.readyState !== 3 || this.#delivered > before, 'a message was accepted after the end')
    } catch (error) {
      this.#queued = this.#queued.filter((each) => each !== data)
      ledger.must((error as Error).name === 'InvalidStateError', `send throws ${String(error)}`)
      ledger.must(this.#delivered === before, 'a message was sent although send threw')
    } finally {
      this.#isSending = false
    }
    if (wasIdle) this.#mayComeEarly = true
    ledger.must(this.#queued.join('').length <= QUEUE, 'the queue is longer than its limit')
  }

  #onDelivered (data: string): void {
    this.#delivered++
    const at = this.#isSending ? this.#queued.length - 1 : 0
    this.ledger.must(this.#queued[at] === data, `${data} was sent, not ${this.#queued[at]}`)
    this.#queued.splice(at, 1)
    this.ledger.must(this.#server.live !== undefined, 'a message was sent to a socket that is left')
  }

  #await (promise: Promise<void>): void {
    this.#pending++
    const settle = (error?: unknown): void => {
      this.#pending--
      if (error !== undefined) this.ledger.keepSecret(error, 'the error of a promise')
      this.#commandWithin()
    }
    promise.then(() => settle(), settle)
  }

  #iterate (): void {
    if (this.#iterators.length < 3) this.#iterators.push({ expected: [], got: [], iterator: this.#socket.messages({ max: 5 }), isOver: false })
  }

  #pull (): void {
    const each = this.#iterators.at(-1)
    if (each === undefined) return
    if (this.#tape.draw(5) === 4) void each.iterator.return?.().then(() => { each.isOver = true })
    this.#pending++
    each.iterator.next().then(({ done, value }) => {
      this.#pending--
      if (done === true) each.isOver = true
      else each.got.push(value as string)
    }, () => {
      this.#pending--
      each.isOver = true
    })
  }

  /** The server does something on the live connection, or on one that the client has left. */
  #serve (): void {
    const server = this.#server
    const socket = this.#tape.draw(6) === 5 ? this.#lab.sockets[0] : server.live ?? this.#lab.sockets.at(-1)
    if (socket === undefined || socket.isOver || socket.readyState === 0) return
    const kind = this.#tape.draw(12)
    const [code, reason] = this.#tape.pick(ENDS)
    const isPresent = socket === server.live && this.#socket.readyState === 1
    if (kind < 3) server.app(socket)
    else if (kind === 3) server.hint(socket)
    else if (kind === 4) socket.frame('auth.pong')
    else if (kind === 5) socket.frame('auth.error', { code: 'WS_AUTH_TOKEN_INVALID', id: 99 })
    else if (kind === 6) server.retry(socket, this.#tape.pick([3000, 60_000]))
    else if (kind === 7) socket.fail({ hasClose: this.#tape.draw(2) === 1 })
    else server.end(socket, code, reason)
    if (isPresent && kind > 7 && !this.#hasDecided) this.#checkEnd(code, reason)
  }

  #checkEnd (code: number, reason: string): void {
    const { state } = this.#socket
    const action = expectedAction({ code, reason, wasOpen: true })
    // A listener has called a command.
    if (this.#last !== state.status || this.#commanded) return
    const expected = action === 'refuse' ? 'refused' : action === 'idle' ? 'paused' : 'waiting'
    this.ledger.must(state.status === expected || (expected === 'waiting' && state.status === 'paused'), `${state.status} after ${code} ${reason}`)
  }

  #turnPage (): void {
    const { window, document, navigator } = this.#lab
    const type = this.#tape.pick(['online', 'offline', 'visibilitychange', 'resume', 'pageshow', 'pagehide', 'hidden'])
    this.ledger.note(() => `page ${type}`)
    this.#mayComeEarly = true
    if (type === 'online' || type === 'offline') navigator.onLine = type === 'online'
    document.visibilityState = type === 'hidden' ? 'hidden' : 'visible'
    if (type === 'hidden') document.dispatch('visibilitychange')
    else if (type === 'visibilitychange' || type === 'resume') document.dispatch(type)
    else window.dispatch(type)
  }

  /* What the app sees. */

  #commanded = false

  #on (type: string, event: Event): void {
    const { ledger } = this
    ledger.note(() => `event ${type} ${type === 'state' ? JSON.stringify(this.#socket.state) : String(event.code ?? '')}`)
    ledger.must(!ledger.isSealed, `the event ${type} after the end`)
    if (type !== 'state') ledger.keepSecret({ ...event }, type)
    if (event.error !== undefined) ledger.keepSecret(event.error, `the error of ${type}`)
    if (type === 'state') this.#onState(this.#socket.state)
    else if (type === 'open') this.#opens++
    else if (type === 'close') this.#closes++
    else if (type === 'message') this.#onMessage(event.data as string)
    ledger.must(this.#closes <= this.#opens && this.#opens <= this.#closes + 1, `${this.#opens} opened, ${this.#closes} closed`)
    this.#commandWithin()
  }

  /** The app calls a method in a listener, in its function for the token, or behind a promise. */
  #commandWithin (): void {
    if (this.#depth > 1 || this.#tape.draw(20) !== 19) return
    this.#depth++
    this.#commanded = true
    this.#command()
    this.#depth--
  }

  #onMessage (data: string): void {
    const expected = this.#server.toApp.shift()
    this.ledger.must(data === expected, `the message ${data}, not ${expected}`)
    for (const each of this.#iterators) each.expected.push(data)
  }

  #onState (state: State): void {
    const { ledger } = this
    const before = this.#last
    ledger.must(Object.isFrozen(state), 'a state that can be changed')
    ledger.checkSecrets(state)
    if (before === 'open' && state.status !== 'open') this.#leaveOpen()
    if (state.status === 'open' && before !== 'open') {
      this.#opened = ledger.instant()
      const { live } = this.#server
      ledger.accept(live === undefined ? null : this.#server.tokens.get(live) ?? null, null)
    }
    if (state.status === 'waiting' && before !== 'paused') this.#onWaiting(state)
    if (state.status === 'paused' && state.why === 'offline' && before !== 'waiting') this.#attempt++
    if (state.status === 'connecting') this.#onConnecting(state, before)
    if (state.status === 'refused') this.#onRefused(state.end)
    if (state.status === 'refused' || state.status === 'closed') this.#queued = []
    this.#last = state.status
    this.#since = this.#lab.clock.now
    if (state.status !== 'connecting') this.#mayComeEarly = false
  }

  #leaveOpen (): void {
    if (this.#opened !== null && this.ledger.age(this.#opened) >= STABLE_AFTER) this.#attempt = 0
    this.#opened = null
  }

  #onWaiting (state: Extract<State, { status: 'waiting' }>): void {
    const { ledger } = this
    this.#attempt++
    ledger.must(state.attempt === this.#attempt, `attempt ${state.attempt}, not ${this.#attempt}`)
    const [least, most] = boundsOf(state, ledger.told, this.#isForced)
    this.#isForced = false
    ledger.must(state.delay >= least && state.delay <= most, `a delay of ${state.delay}, not ${least} to ${most}`)
    const isFinal = expectedAction(state.end) === 'refuse'
    ledger.must(!isFinal || this.#hasDecided, `waiting after ${state.end.reason}`)
  }

  #onConnecting (state: Extract<State, { status: 'connecting' }>, before: string): void {
    Object.assign(this.ledger.told, { within: null, least: 0 })
    this.ledger.must(state.attempt === this.#attempt, `connecting ${state.attempt}, not ${this.#attempt}`)
    if (before === 'waiting' && !this.#mayComeEarly) this.ledger.must(this.#lab.clock.now >= this.#since + this.#delay - 1e-6, 'it came back too early')
  }

  #onRefused ({ code, reason, status }: End): void {
    const { ledger } = this
    const action = expectedAction({ code, reason, status, wasOpen: false })
    const isByCredential = reason.startsWith('token_') || reason === 'ticket_invalid'
    const isRight = action === 'refuse' || isByCredential || this.#isForced
    ledger.must(isRight, `refused after ${code} ${reason} ${status}`)
    this.#isForced = false
  }

  /* What must hold between two turns. */

  #check (): void {
    const { ledger } = this
    const { state } = this.#socket
    const { now } = this.#lab.clock
    const isStopped = state.status === 'refused' || state.status === 'closed'
    this.#commanded = this.#hasDecided = false
    this.#checkSockets(state)
    const elapsed = now - this.#since
    this.#delay = state.status === 'waiting' ? state.delay : 0
    if (state.status === 'connecting') ledger.must(elapsed <= LONGEST_ATTEMPT, 'it connects for ever')
    if (state.status === 'waiting') ledger.must(elapsed <= state.delay + 1e-6, 'it waits longer than it said')
    if (state.status === 'paused' && state.why === 'offline') ledger.must(elapsed <= 30_000, 'it is offline for ever')
    ledger.must(this.#opens === this.#closes + (state.status === 'open' ? 1 : 0), `${state.status}, ${this.#opens} opened, ${this.#closes} closed`)
    if (isStopped) this.#checkNothingLeft()
    ledger.isSealed = isStopped
    if (ledger.violation !== null) throw new Error(`${ledger.violation}\n${ledger.log.join('\n')}`)
  }

  #checkSockets (state: State): void {
    const { ledger } = this
    const live = this.#lab.sockets.filter((socket) => socket.isLive)
    ledger.must(live.length <= 1, `${live.length} sockets`)
    const [socket] = live
    const isFailing = this.#lab.sockets.some((each) => each.readyState === 3 && each.onclose !== null)
    if (state.status === 'open') ledger.must(isFailing || socket?.readyState === 1, 'open without a socket')
    else ledger.must(socket === undefined || !this.#server.accepted.has(socket), `${state.status} although the server has accepted`)
    if (state.status !== 'open' && state.status !== 'connecting') ledger.must(socket === undefined, `${state.status} with a socket`)
    if (state.status === 'open' && !isFailing) ledger.must(this.#queued.length === 0, 'open, and the queue is not sent')
    if (this.#server.toApp.length > 0 && socket !== undefined && state.status === 'open') ledger.fail('a message did not come to the app')
    this.#server.toApp.length = 0
    for (const each of this.#iterators) ledger.must(each.got.every((data, i) => data === each.expected[i]), 'an iterator has other messages than the listeners')
  }

  /** At once, and not after the next timer. */
  #checkNothingLeft (): void {
    const { ledger } = this
    ledger.must(this.#lab.clock.timersOfClient === 0, 'a timer is left')
    ledger.must(this.#lab.listeners === 0, 'a listener of the page is left')
    ledger.must(this.#abort.listeners.size === 0, 'an abort listener is left')
    ledger.must(ledger.liveCalls.length === 0, 'a token call is left')
    ledger.must(this.#server.liveRequests.length === 0, 'a request is left')
    ledger.must(this.#socket.bufferedAmount === 0, 'a message is left')
    for (const { onopen, onmessage, onclose } of this.#lab.sockets) ledger.must(onopen === null && onmessage === null && onclose === null, 'a socket has listeners')
  }

  #comeBack (): void {
    this.#mayComeEarly = true
    if (this.#lab.window.listeners.size === 0) this.#reconnect()
    else this.#lab.window.dispatch('pageshow')
  }

  /** From now on everything goes well: it must open again, unless it has stopped; and after `close()` nothing may happen. */
  async #settle (): Promise<void> {
    const socket = this.#socket
    this.#lab.document.visibilityState = 'visible'
    for (let round = 0; round < 4 && socket.readyState === 0; round++) {
      const { state } = socket
      if (state.status === 'paused' && state.why !== 'offline') this.#comeBack()
      await this.#advance(100_000)
    }
    this.ledger.must(socket.readyState !== 0, `${socket.state.status} for ever`)
    this.#check()
    this.#close()
    this.#check()
    await this.#advance(200_000)
    this.ledger.must(this.#pending === 0, `${this.#pending} promises are pending for ever`)
    this.#check()
  }
}

/** Plays a tape. @throws with the story of it, if something is not as it must be */
export async function play (bytes: Uint8Array): Promise<void> {
  try {
    await new Player(bytes, false).play()
  } catch {
    // The same story, told.
    await new Player(bytes, true).play()
    throw new Error('it failed, and not when it was played again')
  }
}
