/*
 * Examples by the virtual clock: what is told to the client, and what it does.
 */
import t from 'tap'
import type { Test } from 'tap'
import { connect, webSocketClass } from '../../../lib/client/index'
import type { AuthOptions, AuthSocket, ConnectOptions, CredentialRequest, FetchLike, WebSocketLike } from '../../../lib/client/index'
import { Lab } from './lab'

const URL = 'wss://example.com/chat'

interface Answer { readonly status?: number, readonly code?: string, readonly retryAfter?: string, readonly ticket?: unknown, readonly error?: Error, readonly isHanging?: boolean, readonly isText?: boolean }

export class Stage extends Lab {
  /** What the function for the token was asked. */
  readonly asked: CredentialRequest[] = []
  readonly requests: Array<{ readonly url: string } & Parameters<FetchLike>[1]> = []
  /** The answers to requests, in order; the last one again and again. */
  answers: Answer[] = [{ error: new TypeError('Failed to fetch') }]
  /** The events of the socket, in order. */
  readonly events: string[] = []
  readonly errors: unknown[] = []
  readonly #toClose: WebSocketLike[] = []
  #hasClasses = false

  readonly token = (request: CredentialRequest): string => {
    this.asked.push(request)
    return `token-${this.asked.length}`
  }

  readonly fetch: FetchLike = async (url, options) => {
    this.requests.push({ url, ...options })
    const { status = 200, code, retryAfter = null, ticket, error, isHanging, isText } = (this.answers.length > 1 ? this.answers.shift() : this.answers[0]) as Answer
    if (isHanging === true) return await new Promise(() => {})
    if (error !== undefined) throw error
    return {
      status,
      headers: { get: (name) => name === 'retry-after' ? retryAfter : null },
      json: async () => { if (isText === true) throw new SyntaxError('no JSON'); return { code, ticket } }
    }
  }

  connect (options: ConnectOptions = {}, url: Parameters<typeof connect>[0] = URL): AuthSocket {
    const socket = connect(url, { token: this.token, create: this.create, fetch: this.fetch, ...options })
    this.watch(socket)
    socket.addEventListener('state', () => this.events.push(socket.state.status))
    return socket
  }

  /** A socket that is open. */
  async open (options: ConnectOptions = {}): Promise<AuthSocket> {
    const socket = this.connect(options)
    await this.flush()
    this.socket.accept()
    this.events.length = 0
    return socket
  }

  /** A class for libraries. */
  classOf (options: Parameters<typeof webSocketClass>[0] = {}): (protocols?: string | string[]) => WebSocketLike {
    const Class = webSocketClass({ token: this.token, create: this.create, fetch: this.fetch, ...options } satisfies AuthOptions)
    return (protocols) => {
      const socket = new Class(URL, protocols)
      this.watch(socket)
      return socket
    }
  }

  /** Notes the events of a socket, and closes it at the end. */
  watch (socket: WebSocketLike): void {
    this.#toClose.push(socket)
    this.#hasClasses ||= !('subscribe' in socket)
    socket.addEventListener('open', () => this.events.push('(open)'))
    socket.addEventListener('message', ({ data }: { data: string }) => this.events.push(`(${data})`))
    socket.addEventListener('close', ({ code, reason, wasClean }: { code: number, reason: string, wasClean: boolean }) => this.events.push(`(close ${code}${reason === '' ? '' : ` ${reason}`}${wasClean ? '' : ', not clean'})`))
    socket.addEventListener('error', ({ error }: { error: unknown }) => {
      this.events.push('(error)')
      this.errors.push(error)
    })
  }

  /** Closes all sockets. @returns how much of them is left */
  async end (): Promise<number> {
    for (const socket of this.sockets) socket.close = () => {}
    for (const socket of this.#toClose) socket.close()
    const left = this.#hasClasses ? 0 : this.clock.timersOfClient + this.listeners
    await this.flush()
    return left
  }

  /** The token of the last handshake. */
  get sentToken (): string | undefined {
    return this.socket.protocols.at(-1)
  }

  /** The reasons with which the function for the token was called. */
  get whys (): string[] {
    return this.asked.map(({ why, code }) => code === null ? why : `${why} ${code}`)
  }
}

/** An example as a test: the globals are of the stage until its end. */
export function story (title: string, tell: (stage: Stage, t: Test) => Promise<void>, options?: { readonly hasPage?: boolean }): void {
  t.test(title, async (t) => {
    const stage = new Stage()
    stage.install(options)
    try {
      await tell(stage, t)
      t.equal(await stage.end(), 0, 'nothing is left after the end')
    } finally {
      stage.uninstall()
    }
  })
}
