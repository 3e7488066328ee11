/*
 * Runs all cells of the table in one process: `node <bundle> ws|native`. The cells come by stdin, the results go to stdout, both as JSON. It is
 * bundled into one file, so that each version of Node.js can run it.
 */
import { text } from 'node:stream/consumers'
import { WebSocket as WsSocket } from 'ws'
import { connect, webSocketClass } from '../../lib/client/index'
import type { AuthOptions, End, FetchLike, State, WebSocketLike } from '../../lib/client/index'

/** One connection to try. */
export interface Cell {
  /** Of `connect()`, or of `webSocketClass()`. */
  readonly client: 'connect' | 'class'
  readonly url: string
  readonly via?: 'subprotocol' | 'message' | 'header' | 'query'
  /** What the calls for a token give, one after another; the last one again and again. Without it there is no such function. */
  readonly tokens?: ReadonlyArray<string | null>
  readonly ticket?: true
  /** Tickets that the app gets by itself. */
  readonly tickets?: readonly string[]
  /** The headers of a page: its cookies and its origin. */
  readonly headers: Record<string, string>
}

export interface Result {
  /** The first state that is not `connecting`. */
  readonly state: State['status'] | null
  readonly end: End | null
  readonly delay: number | null
  readonly tokenCalls: number
  /** How many sockets were made. */
  readonly sockets: number
  /** How many requests for a ticket, and how many dry runs. */
  readonly posts: number
  readonly dryRuns: number
  readonly events: readonly string[]
}

type Outcome = Pick<Result, 'state' | 'end' | 'delay'> & { readonly socket: Pick<WebSocketLike, 'close'> }

/** How many cells run at once. */
const AT_ONCE = 40
/** As an app of graphql-ws has them. */
export const CLOSE_CODES = { unauthorized: 4401, forbidden: 4403 }

export class Trial {
  readonly #cell: Cell
  readonly #kind: string
  readonly #events: string[] = []
  #tokenCalls = 0
  #ticketCalls = 0
  #sockets = 0
  #posts = 0
  #dryRuns = 0

  constructor (cell: Cell, kind: string) {
    this.#cell = cell
    this.#kind = kind
  }

  async run (): Promise<Result> {
    const { state, end, delay, socket } = await (this.#cell.client === 'class' ? this.#runClass() : this.#runConnect())
    const result = {
      state, end, delay, tokenCalls: this.#tokenCalls, sockets: this.#sockets, posts: this.#posts, dryRuns: this.#dryRuns, events: [...this.#events]
    }
    // At once: a delay may be short, and a second socket that a timer of this table came after would be counted by the server.
    socket.close()
    return result
  }

  async #runConnect (): Promise<Outcome> {
    const socket = connect(this.#cell.url, this.#options())
    this.#note(socket)
    return await new Promise((resolve) => {
      const stop = socket.subscribe(() => {
        const { state } = socket
        if (state.status === 'connecting') return
        stop()
        resolve({ socket, state: state.status, end: 'end' in state ? state.end : null, delay: 'delay' in state ? state.delay : null })
      })
    })
  }

  async #runClass (): Promise<Outcome> {
    const WebSocket = webSocketClass({ ...this.#options(), closeCodes: CLOSE_CODES })
    const socket = new WebSocket(this.#cell.url)
    this.#note(socket)
    await new Promise<void>((resolve) => socket.addEventListener('close', () => resolve()))
    return { socket, state: null, end: null, delay: null }
  }

  #note (socket: WebSocketLike): void {
    for (const type of ['open', 'message', 'error']) socket.addEventListener(type, () => { this.#events.push(type) })
    socket.addEventListener('close', ({ code, reason }: { code: number, reason: string }) => { this.#events.push(`close ${code} ${reason}`.trimEnd()) })
  }

  #options (): AuthOptions {
    const { via, tokens, ticket, tickets } = this.#cell
    return {
      ...via && { via },
      ...tokens && { token: () => tokens[Math.min(this.#tokenCalls++, tokens.length - 1)] as string | null },
      ...ticket && { ticket },
      ...tickets && { ticket: () => tickets[Math.min(this.#ticketCalls++, tickets.length - 1)] as string },
      create: (url, protocols, headers) => {
        this.#sockets++
        const all = { ...this.#cell.headers, ...headers }
        // A page cannot set headers.
        if (this.#kind === 'page') return new (globalThis as unknown as { WebSocket: new (url: string, protocols: string[]) => WebSocketLike }).WebSocket(url, protocols)
        if (this.#kind === 'ws') return new WsSocket(url, protocols, { headers: all }) as unknown as WebSocketLike
        // The own WebSocket of Node.js takes headers there.
        return new (globalThis as unknown as { WebSocket: new (url: string, options: object) => WebSocketLike }).WebSocket(url, { protocols, headers: all })
      },
      fetch: ((url, options) => {
        if (options.method === 'POST') this.#posts++
        else this.#dryRuns++
        return fetch(url, { ...options, headers: { ...this.#cell.headers, ...options.headers } })
      }) as FetchLike
    }
  }
}

async function main (): Promise<void> {
  const cells = JSON.parse(await text(process.stdin)) as Cell[]
  const results: Result[] = []
  const waiting = cells.entries()
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (const [index, cell] of waiting) results[index] = await new Trial(cell, process.argv[2] ?? 'ws').run()
  }))
  process.stdout.write(JSON.stringify(results))
}

if (typeof process === 'object' && process.argv[1] === __filename) void main()
