/*
 * Clients that do all as they should, and whom nobody revokes: the chaos around them is none of theirs.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { sign } from '../app'
import { plain } from '../plain-frames'
import type { Dice } from './dice'
import type { ChaosInstance } from './instance'

/** What was not as it should be. */
export interface Deviation {
  readonly instance: ChaosInstance
  readonly what: string
  readonly expected: string
  readonly isByTicket: boolean
  /** When the visit began, and when it was noticed, in milliseconds since the epoch. */
  readonly from: number
  readonly at: number
}

const CARRIERS = ['header', 'query', 'subprotocol', 'cookie', 'ticket', 'message'] as const

type Carrier = typeof CARRIERS[number]

/** Something other came than was expected. */
class Surprise extends Error {
  readonly expected: string

  constructor (what: string, expected: string) {
    super(what)
    this.expected = expected
  }
}

export class Polite {
  readonly deviations: Deviation[] = []
  /** How many visits ended as they should, by carrier, and how many refusals were right. */
  readonly visits: Record<string, number> = {}
  readonly #instance: ChaosInstance
  readonly #dice: Dice
  readonly #sub: string

  constructor (instance: ChaosInstance, dice: Dice, sub: string) {
    this.#instance = instance
    this.#dice = dice
    this.#sub = sub
  }

  /** Comes and goes. */
  async run (isOver: () => boolean): Promise<void> {
    for (let i = this.#dice.below(CARRIERS.length); !isOver(); i++) {
      const carrier = CARRIERS[i % CARRIERS.length] as Carrier
      await this.#watch(carrier, async () => await this.#visit(carrier, 1 + this.#dice.below(4)))
      await this.#watch('refused', async () => await this.#beRefused())
      await pause(20 + this.#dice.below(150))
    }
  }

  /** Stays for as long as it can. */
  async stay (isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      await this.#watch('stayed', async () => await this.#visit('header', Infinity, isOver))
      await pause(50)
    }
  }

  async #watch (name: string, visit: () => Promise<void>): Promise<void> {
    const from = Date.now()
    try {
      await visit()
      this.visits[name] = (this.visits[name] ?? 0) + 1
    } catch (error) {
      const { message: what, expected = '' } = error as Surprise
      this.deviations.push({ instance: this.#instance, what, expected, isByTicket: name === 'ticket', from, at: Date.now() })
    }
  }

  #claims (lifetime = 600): { sub: string, iat: number, exp: number, roles: string[] } {
    const now = Math.floor(Date.now() / 1000)
    return { sub: this.#sub, iat: now, exp: now + lifetime, roles: ['member'] }
  }

  async #visit (carrier: Carrier, messages: number, isOver = (): boolean => false): Promise<void> {
    const claims = this.#claims()
    const token = sign(claims)
    const talk = new Talk(await this.#connect(carrier, token))
    try {
      expect(await talk.opened, 'open')
      if (carrier === 'subprotocol') expect(talk.protocol, 'bearer')
      const opening = carrier === 'message' ? await talk.say(JSON.stringify({ type: 'auth', token })) : await talk.next()
      expect(plain(opening), JSON.stringify({ type: 'auth.ok', expiresAt: claims.exp * 1000 }))
      for (let i = 0; i < messages && !isOver(); i++) {
        expect(await talk.say(`${this.#sub} says ${i}`), `echo ${this.#sub} says ${i}`)
        if (messages === Infinity) await pause(200)
        if (this.#dice.chance(0.1)) await this.#renew(talk)
      }
      expect(await talk.leave(), 'closed 1000 ')
    } finally {
      talk.end()
    }
  }

  async #renew (talk: Talk): Promise<void> {
    const claims = this.#claims(700)
    expect(plain(await talk.say(JSON.stringify({ type: 'auth', token: sign(claims) }))), JSON.stringify({ type: 'auth.ok', expiresAt: claims.exp * 1000 }))
    expect(await talk.say(JSON.stringify({ type: 'auth', token: sign({ ...claims, sub: 'another' }) })), '{"type":"auth.error","code":"WS_AUTH_TOKEN_INVALID","reason":"other_subject"}')
  }

  async #connect (carrier: Carrier, token: string): Promise<WebSocket> {
    const headers = { 'x-calm': '1' }
    switch (carrier) {
      case 'header': return this.#open('/chat', { ...headers, authorization: `Bearer ${token}` })
      case 'query': return this.#open(`/chat?token=${token}`, headers)
      case 'subprotocol': return this.#open('/chat', headers, ['bearer', token])
      case 'cookie': return this.#open('/chat', { ...headers, cookie: `token=${token}` })
      case 'message': return this.#open('/chat', headers)
      case 'ticket': return this.#open(`/chat?ticket=${await takeTicket(this.#instance.port, token)}`, headers)
    }
  }

  async #beRefused (): Promise<void> {
    const [headers, expected] = this.#dice.one<readonly [Record<string, string>, string]>(
      [{}, '401 WS_AUTH_TOKEN_MISSING'],
      [{ authorization: 'Bearer nonsense' }, '401 WS_AUTH_TOKEN_INVALID'],
      [{ authorization: `Bearer ${sign(this.#claims(-1))}` }, '401 WS_AUTH_TOKEN_EXPIRED'],
      [{ authorization: `Bearer ${sign({ ...this.#claims(), roles: [] })}` }, '403 WS_AUTH_FORBIDDEN'],
      [{ authorization: `Bearer ${sign(this.#claims())}`, cookie: 'token=nonsense', 'sec-websocket-protocol': 'bearer, nonsense' }, '400 WS_AUTH_TOKEN_AMBIGUOUS']
    )
    const talk = new Talk(this.#open('/strict', headers))
    expect(await talk.opened, expected)
  }

  #open (path: string, headers: Record<string, string>, protocols: string[] = []): WebSocket {
    return new WebSocket(`ws://127.0.0.1:${this.#instance.port}${path}`, protocols, { headers })
  }
}

/** A connection of a client of ws. */
class Talk {
  readonly #socket: WebSocket
  /** `open`, or why it was not. */
  readonly opened: Promise<string>
  readonly #closed: Promise<string>
  readonly #messages: string[] = []
  #onMessage: () => void = () => {}

  constructor (socket: WebSocket) {
    this.#socket = socket
    socket.on('error', () => {})
    socket.on('message', (data) => {
      if (String(data).startsWith('{"type":"auth.retry"')) return
      this.#messages.push(String(data))
      this.#onMessage()
    })
    this.#closed = new Promise((resolve) => socket.once('close', (code, reason) => resolve(`closed ${code} ${String(reason)}`)))
    this.opened = new Promise((resolve) => {
      socket.once('open', () => resolve('open'))
      socket.once('error', (error: Error & { code?: string }) => resolve(error.code ?? error.message))
      socket.once('unexpected-response', (_request, response) => {
        let body = ''
        response.on('data', (chunk) => { body += String(chunk) })
        response.on('close', () => { resolve(`${response.statusCode} ${/"code":"(\w+)"/.exec(body)?.[1] ?? ''}`); socket.terminate() })
      })
    })
  }

  get protocol (): string {
    return this.#socket.protocol
  }

  /** What comes back, or how it was closed. */
  async say (text: string): Promise<string> {
    this.#socket.send(text)
    return await this.next()
  }

  async leave (): Promise<string> {
    this.#socket.close(1000)
    return this.#messages.shift() ?? await this.#closed
  }

  end (): void {
    this.#socket.terminate()
  }

  /** The next message, or how it was closed. */
  async next (): Promise<string> {
    const message = new Promise<void>((resolve) => { this.#onMessage = resolve })
    const end = this.#messages.length === 0 ? await Promise.race([message, this.#closed]) : undefined
    return this.#messages.shift() ?? end ?? ''
  }
}

/** A ticket of the route. */
export async function takeTicket (port: number, token: string): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}/ws-ticket`, { method: 'POST', headers: { authorization: `Bearer ${token}`, connection: 'close' } })
    .catch((error: Error & { cause?: { code?: string } }) => { throw new Surprise(error.cause?.code ?? error.message, '200') })
  const { ticket, code } = await response.json() as { ticket?: string, code?: string }
  if (ticket === undefined) throw new Surprise(`${response.status} ${code}`, '200')
  return ticket
}

function expect (found: string, expected: string): void {
  if (found !== expected) throw new Surprise(found, expected)
}
