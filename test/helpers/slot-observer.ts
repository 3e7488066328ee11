/*
 * Clients of many users, and how many connections each user has, as the clients see it: the servers are not asked.
 */
import { once } from 'node:events'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { sign } from './app'

/** What became of an attempt: open, a status, or `lost` if there was no answer. */
export type Answer = 'open' | number | 'lost'

/** A connection of a client. */
export interface Held {
  readonly user: string
  readonly socket: WebSocket
}

/** Opens and counts connections. */
export class SlotObserver {
  readonly #max: number
  readonly #tokens = new Map<string, string>()
  readonly #open = new Map<string, Set<Held>>()
  /** The most connections that a user had at one time. */
  most = 0
  /** Each time that a user had more than allowed. */
  readonly violations: string[] = []
  /** How connections ended that no client has closed, by code and reason. */
  readonly ends = new Map<string, number>()
  readonly answers = new Map<Answer, number>()

  constructor (t: Test, max: number) {
    this.#max = max
    t.teardown(() => { for (const held of this.all()) held.socket.terminate() })
  }

  /** The open connections of a user, the oldest first. A connection counts from the end of its handshake until its client, or its server, begins to close it. */
  of (user: string): Held[] {
    return [...this.#open.get(user) ?? []]
  }

  all (): Held[] {
    return [...this.#open.values()].flatMap((held) => [...held])
  }

  /** Tries to open a connection. @param patience after how many milliseconds the client leaves the handshake; a fraction of a handshake at random */
  async open (user: string, port: number, patience = Infinity): Promise<Answer> {
    const socket = this.#connect(user, port)
    const leaving = patience === Infinity ? undefined : setTimeout(() => { socket.terminate() }, patience)
    const answer = await answerTo(socket)
    clearTimeout(leaving)
    this.answers.set(answer, (this.answers.get(answer) ?? 0) + 1)
    if (answer === 'open' && socket.readyState === WebSocket.OPEN) this.#add({ user, socket })
    return answer
  }

  /** The status of a dry run, which takes no slot. */
  async ask (user: string, port: number): Promise<number> {
    const response = await fetch(`http://127.0.0.1:${port}/chat`, { headers: { authorization: `Bearer ${this.#tokenOf(user)}` } })
    await response.arrayBuffer()
    return response.status
  }

  /** Closes a connection: by a close frame, or by leaving without one. Resolves when the socket is closed. */
  async close (held: Held, isPolite: boolean): Promise<void> {
    this.#remove(held)
    const closed = once(held.socket, 'close')
    if (isPolite) held.socket.close(1000)
    else held.socket.terminate()
    await closed
  }

  #connect (user: string, port: number): WebSocket {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/chat`, { headers: { authorization: `Bearer ${this.#tokenOf(user)}` }, handshakeTimeout: 30_000 })
    socket.on('error', () => {})
    return socket
  }

  #tokenOf (user: string): string {
    const token = this.#tokens.get(user) ?? sign({ sub: user })
    this.#tokens.set(user, token)
    return token
  }

  #add (held: Held): void {
    const { user, socket } = held
    const all = this.#open.get(user) ?? new Set()
    this.#open.set(user, all.add(held))
    this.most = Math.max(this.most, all.size)
    if (all.size > this.#max) this.violations.push(`${user} has ${all.size}`)
    // ws shows the close frame of the server in this state before its event.
    socket.once('close', (code, reason) => {
      if (!all.has(held)) return
      const end = `${code} ${String(reason)}`.trim()
      this.ends.set(end, (this.ends.get(end) ?? 0) + 1)
      this.#remove(held)
    })
  }

  #remove (held: Held): void {
    this.#open.get(held.user)?.delete(held)
  }
}

async function answerTo (socket: WebSocket): Promise<Answer> {
  return await new Promise((resolve) => {
    socket.once('open', () => resolve('open'))
    socket.once('unexpected-response', (_request, response) => {
      response.resume()
      resolve(response.statusCode ?? 'lost')
      socket.terminate()
    })
    socket.once('close', () => resolve('lost'))
  })
}
