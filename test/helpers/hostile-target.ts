/*
 * A server that is attacked over the wire, one request to a connection, and what has to hold after each: the exact answer,
 * one event and one count of it and no other, no handler that ran, nothing pending, nothing more on the connection.
 */
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { start, until, within } from './app'
import type { AppSettings } from './app'
import { onDecision } from './decisions'
import { RawClient, requestText } from './raw-client'
import type { RawResponse, RequestSettings } from './raw-client'
import { statsOf } from './stats'

/** What a request is answered with. Without a `code` it was somebody below this package who answered. */
export interface Answer {
  readonly status: number
  readonly code?: string
  readonly challenge?: string
  readonly version?: string
  /** No upgrade was asked for: it is told of as a dry run, not counted, and the connection may be used again. */
  readonly isPlain?: true
}

const INVALID_TOKEN = 'Bearer error="invalid_token"'

export const ACCEPTED: Answer = { status: 101 }
export const MISSING: Answer = { status: 401, code: 'WS_AUTH_TOKEN_MISSING', challenge: 'Bearer realm="websocket"' }
export const INVALID: Answer = { status: 401, code: 'WS_AUTH_TOKEN_INVALID', challenge: INVALID_TOKEN }
export const EXPIRED: Answer = { status: 401, code: 'WS_AUTH_TOKEN_EXPIRED', challenge: INVALID_TOKEN }
export const REVOKED: Answer = { status: 401, code: 'WS_AUTH_TOKEN_REVOKED', challenge: INVALID_TOKEN }
export const AMBIGUOUS: Answer = { status: 400, code: 'WS_AUTH_TOKEN_AMBIGUOUS', challenge: 'Bearer error="invalid_request"' }
export const FORBIDDEN: Answer = { status: 403, code: 'WS_AUTH_FORBIDDEN', challenge: 'Bearer error="insufficient_scope"' }
export const WRONG_ORIGIN: Answer = { status: 403, code: 'WS_AUTH_ORIGIN_FORBIDDEN' }
export const NO_HANDSHAKE: Answer = { status: 400, code: 'WS_AUTH_HANDSHAKE_INVALID' }
export const WRONG_VERSION: Answer = { ...NO_HANDSHAKE, version: '13' }
export const NO_WEBSOCKET: Answer = { status: 404, code: 'WS_AUTH_ROUTE_NOT_WEBSOCKET' }
/** A plain request, which is told that a handshake would be accepted. */
export const DRY_RUN: Answer = { status: 426, isPlain: true }
/** A route that is not there: Fastify answers. */
export const NOT_FOUND: Answer = { status: 404 }
/** What is no HTTP: Node finds out, and Fastify answers. */
export const NO_HTTP: Answer = { status: 400 }

/** A user without the scopes that the route asks for. */
export function withoutScope (scope: string): Answer {
  return { ...FORBIDDEN, challenge: `${FORBIDDEN.challenge}, scope="${scope}"` }
}

/** The same answer to a plain request. */
export function plain (answer: Answer): Answer {
  return { ...answer, isPlain: true }
}

/** How long a refused connection may stay, in milliseconds. */
const CLOSE_TIMEOUT = 4000

export class HostileTarget {
  readonly app: FastifyInstance
  readonly port: number
  /** What ran, in order: handlers, and whatever else the test adds. */
  readonly ran: string[]
  /** The codes of the refusals that were told, by any app of the process, since the last request. */
  readonly told: string[] = []
  /** What must have been counted since the start: what is counted late is noticed at the next row. */
  #counted: Counts = { accepted: 0, refused: {} }

  private constructor (t: Test, app: FastifyInstance, port: number, ran: string[]) {
    this.app = app
    this.port = port
    this.ran = ran
    onDecision(t, ({ event, code, dryRun }) => {
      if (event === 'refused') this.told.push(`${code}${dryRun ? ', dry run' : ''}`)
    })
  }

  /** A server with the guarded websocket /chat, and what else the test declares. */
  static async start (t: Test, { routes, ...settings }: Omit<AppSettings, 'routes'> & { routes?: (app: FastifyInstance, ran: string[]) => unknown } = {}): Promise<HostileTarget> {
    const ran: string[] = []
    const { app, port } = await start(t, {
      ...settings,
      routes: (app) => {
        app.get('/chat', { websocket: true }, (socket, request) => {
          ran.push('handler')
          socket.send(`hello from ${request.wsAuth?.source}`)
        })
        return routes?.(app, ran)
      }
    })
    return new HostileTarget(t, app, port, ran)
  }

  /** Sends a request, and asserts all of it. A text is sent as it is. Resolves to the answer. */
  async answers (t: Test, request: RequestSettings | string | Buffer, expected: Answer): Promise<RawResponse> {
    // The channel is one for all apps of the process.
    this.told.length = 0
    const client = (await RawClient.open(t, this.port)).send(typeof request === 'string' || Buffer.isBuffer(request) ? request : requestText(request))
    const answer = await client.response(expected.status !== 101 && !isHead(request))
    const { isPlain, ...onTheWire } = expected
    t.strictSame(readAnswer(answer), onTheWire, 'the answer')
    if (expected.status === 101) await this.#assertAccepted(t, client)
    else await this.#assertRefused(t, client, expected)
    client.socket.destroy()
    await until(() => this.isAtRest, 'nothing is pending, nobody connected')
    return answer
  }

  async #assertAccepted (t: Test, client: RawClient): Promise<void> {
    const { payload } = await client.frame()
    t.match(payload.toString(), /^hello from \w+/, 'the handler greets')
    t.strictSame(this.ran.splice(0), ['handler'], 'the handler ran once')
    t.strictSame(this.told.splice(0), [], 'no refusal was told')
    this.#counted.accepted++
    this.#assertCounted(t)
  }

  async #assertRefused (t: Test, client: RawClient, { code, isPlain }: Answer): Promise<void> {
    if (isPlain === true) client.socket.end()
    await within(CLOSE_TIMEOUT, 'the server closes the connection', client.ended)
    t.equal(client.rest.toString('latin1'), '', 'nothing comes behind the answer')
    t.strictSame(this.ran.splice(0), [], 'nothing ran')
    t.strictSame(this.told.splice(0), code === undefined ? [] : [isPlain === true ? `${code}, dry run` : code], 'the refusal was told once')
    if (code !== undefined && isPlain !== true) this.#counted.refused[code] = (this.#counted.refused[code] ?? 0) + 1
    this.#assertCounted(t)
  }

  #assertCounted (t: Test): void {
    const { accepted, refused } = statsOf(this.app)
    t.strictSame({ accepted, refused }, this.#counted, 'it was counted once')
    // One row that fails is no reason for all behind it to fail.
    this.#counted = { accepted, refused: { ...refused } }
  }

  /** Whether nothing is pending, and nobody connected. */
  get isAtRest (): boolean {
    const { pending, connections } = statsOf(this.app)
    return pending === 0 && connections === 0
  }
}

interface Counts {
  accepted: number
  readonly refused: Record<string, number>
}

/** What HEAD is answered has no body. */
function isHead (request: RequestSettings | string | Buffer): boolean {
  return typeof request === 'object' && 'method' in request && request.method === 'HEAD'
}

function readAnswer ({ status, headers, body }: RawResponse): Answer {
  const { code } = body.startsWith('{') ? JSON.parse(body) as { code?: string } : {}
  const { 'www-authenticate': challenge, 'sec-websocket-version': version } = headers
  return {
    status,
    ...code === undefined || !code.startsWith('WS_AUTH_') ? {} : { code },
    ...challenge === undefined ? {} : { challenge },
    ...version === undefined ? {} : { version }
  }
}
