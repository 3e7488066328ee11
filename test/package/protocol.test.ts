/*
 * The scenarios of PROTOCOL.md: each transcript is played against a server, and the server says what it says there.
 */
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { BackplaneMember } from '../../lib/backplane/contract'
import { memoryBackplane } from '../../lib/backplane/memory'
import type { Backplane } from '../../lib/index'
import { moveClock, restoreClock } from '../../lib/testing/index'
import { sign, start } from '../helpers/app'
import { blocksOf, readDocument, section } from '../helpers/documents'
import { clientFrame, plainText, RawClient } from '../helpers/raw-client'
import { stepsOf } from '../helpers/transcripts'
import type { HttpStep, Step } from '../helpers/transcripts'

/** When the first token of each transcript expires, in milliseconds since the epoch. */
const EXPIRES_AT = 1_893_456_000_000
/** How long a token lives, in seconds. */
const LIFE = 600
/** How far the numbers of a run may be from those of the document, in milliseconds. */
const SLACK = 20_000

/** A backplane whose outage begins when it is told to. */
function fragilePlane (): { backplane: Backplane, fail: () => void } {
  const plane = memoryBackplane()
  let member: BackplaneMember | undefined
  let isCurrent = true
  return {
    backplane: { join: (joining) => Object.create(plane.join(member = joining), { isCurrent: { get: () => isCurrent } }) },
    fail: () => {
      isCurrent = false
      member?.onOutage()
    }
  }
}

function routes (app: FastifyInstance): void {
  for (const [path, wsAuth] of [['/chat', true], ['/close', { rejectWith: 'close' }], ['/first', { token: { message: true } }]] as const) {
    app.get(path, { websocket: true, wsAuth }, (socket, request) => {
      socket.on('message', (data) => socket.send(`${request.wsAuth?.sub}: ${String(data)}`))
    })
  }
}

/** One run of a transcript. */
class Run {
  readonly #t: Test
  readonly #app: FastifyInstance
  readonly #port: number
  readonly #fail: () => void
  readonly #values = new Map<string, string>()
  readonly #expiresAt: number
  #client: RawClient | null = null
  /** The open socket of the transcript. */
  #socket: RawClient | null = null

  constructor (t: Test, app: FastifyInstance, port: number, fail: () => void) {
    this.#t = t
    this.#app = app
    this.#port = port
    this.#fail = fail
    const iat = Math.floor(Date.now() / 1000)
    this.#expiresAt = (iat + LIFE) * 1000
    const token = (claims: Record<string, unknown>): string => sign({ sub: 'ann', iat, exp: iat + LIFE, ...claims })
    this.#values.set('token', token({}))
    this.#values.set('token of bob', token({ sub: 'bob' }))
    this.#values.set('expired token', token({ exp: iat - 1 }))
    this.#values.set('revoked token', token({ jti: 'revoked' }))
  }

  /** Replaces the names in angle brackets. */
  #fill (text: string): string {
    return text.replace(/<([\w ]+)>/g, (_all, name: string) => {
      if (name === 'newer token' && !this.#values.has(name)) this.#values.set(name, this.#newerToken())
      const value = this.#values.get(name)
      if (value === undefined) throw new Error(`there is no <${name}>`)
      return value
    })
  }

  #newerToken (): string {
    const iat = Math.floor(Date.now() / 1000)
    return sign({ sub: 'ann', iat, exp: iat + LIFE })
  }

  async play (step: Step): Promise<void> {
    if ('start' in step) await (step.kind === 'request' ? this.#request(step) : this.#response(step))
    else if (step.kind === 'client frame') this.#clientFrame(step.text)
    else if (step.kind === 'server frame') await this.#serverFrame(step.text)
    else await this.#happen(step.text)
  }

  async #request ({ start, headers, isPlain }: HttpStep): Promise<void> {
    const [method, path] = this.#fill(start).split(' ') as [string, string]
    const filled = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, this.#fill(value)]))
    this.#client = await RawClient.open(this.#t, this.#port)
    if (isPlain) this.#client.send(plainText({ method, path, headers: filled }))
    else this.#client.upgrade({ path, headers: filled })
  }

  async #response ({ start, headers, body }: HttpStep): Promise<void> {
    const answer = await (this.#client as RawClient).response()
    this.#t.equal(answer.text.slice(0, answer.text.indexOf('\r\n')), start)
    if (answer.status === 101) this.#socket = this.#client
    for (const [name, value] of Object.entries(headers)) this.#t.match(answer.headers[name], name === 'retry-after' ? /^[1-5]$/ : value, name)
    if (body === null) return
    const { ticket } = JSON.parse(answer.body)
    if (ticket !== undefined) this.#values.set('ticket', ticket)
    this.#t.strictSame(JSON.parse(answer.body), JSON.parse(this.#fill(body)))
  }

  #clientFrame (text: string): void {
    const [, code] = /^close (\d+)$/.exec(text) ?? []
    const close = Buffer.alloc(2)
    if (code !== undefined) close.writeUInt16BE(Number(code))
    this.#socket?.send(code === undefined ? clientFrame(1, this.#fill(text)) : clientFrame(8, close))
  }

  async #serverFrame (text: string): Promise<void> {
    const { opcode, payload } = await (this.#socket as RawClient).frame()
    if (opcode === 8) this.#t.equal(`close ${payload.readUInt16BE(0)} ${payload.subarray(2).toString()}`, text)
    else if (text.startsWith('{')) this.#sameFrame(JSON.parse(payload.toString()), JSON.parse(text))
    else this.#t.equal(payload.toString(), text)
  }

  /** Compares the properties and their order; ids of connections differ, and times are near. */
  #sameFrame (actual: Record<string, unknown>, expected: Record<string, unknown>): void {
    this.#t.strictSame(Object.keys(actual), Object.keys(expected))
    for (const [name, value] of Object.entries(expected)) {
      if (name === 'connection') this.#t.match(actual[name], /^[\w-]{22}$/)
      else if (name === 'expiresAt') this.#isNear(Number(actual[name]) - this.#expiresAt, Number(value) - EXPIRES_AT)
      else if (expected.type === 'auth.renew' && name === 'expiresIn') this.#t.ok(Number(actual[name]) > 0 && Number(actual[name]) <= LIFE * 1000 / 5, name)
      else if (name === 'expiresIn' || name === 'endsIn') this.#isNear(Number(actual[name]), Number(value))
      else this.#t.strictSame(actual[name], value, name)
    }
  }

  #isNear (actual: number, expected: number): void {
    this.#t.ok(Math.abs(actual - expected) <= SLACK, `${actual} for ${expected}`)
  }

  async #happen (text: string): Promise<void> {
    const [, seconds] = /^(\d+) seconds later$/.exec(text) ?? []
    if (seconds !== undefined) await moveClock(Number(seconds) * 1000)
    else if (text === 'the app revokes ann') await this.#app.wsAuth.revoke({ sub: 'ann' })
    else if (text === 'the server closes') void this.#app.close()
    else if (text === 'the backplane is out') this.#fail()
    else throw new Error(`nothing is known to happen by "${text}"`)
  }

  /** Nothing is left that the transcript does not have. */
  end (): void {
    this.#t.equal(this.#socket?.rest.toString() ?? '', '')
    this.#socket?.socket.destroy()
  }
}

const scenarios = section(readDocument('lib/PROTOCOL.md'), '## Scenarios')
const titles = [...scenarios.matchAll(/^### (\d+)\. (.+)$/gm)]

t.test('the scenarios of PROTOCOL.md are numbered, and each has a transcript', async (t) => {
  t.strictSame(titles.map(([, number]) => Number(number)), titles.map((_title, i) => i + 1))
  t.ok(titles.length >= 10)
})

for (const [title, number, name] of titles) {
  t.test(`scenario ${number} of PROTOCOL.md (${name}) is what the server does`, async (t) => {
    const [block, ...more] = blocksOf(section(scenarios, title))
    t.ok(block !== undefined && more.length === 0, 'there is one transcript')
    const { backplane, fail } = fragilePlane()
    const { app, port } = await start(t, { plugin: { tickets: true, backplane }, routes })
    t.teardown(restoreClock)
    await app.wsAuth.revoke({ jti: 'revoked' })
    const run = new Run(t, app, port, fail)
    for (const step of stepsOf((block as { source: string }).source)) await run.play(step)
    run.end()
  })
}
