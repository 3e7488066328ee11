/*
 * The table of refusals: each code of `wsAuthErrors`, each way to refuse, each place of a credential. A real server refuses, and what a client
 * must make of it is worked out here from words.ts and from what is visible to a client, not from the client.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { WsAuthError, wsAuthErrors } from '../../lib/base/errors'
import type { WsAuthErrorCode } from '../../lib/base/errors'
import type { RouteWsAuthOptions } from '../../lib/options/public-route-options'
import { sign } from '../helpers/app'
import type { Cell } from './table-client'
import { doesAfter, wordOf } from './words'
import type { Does } from './words'

export const MODES = ['http', 'close', 'auto'] as const
export const CARRIERS = ['subprotocol', 'message', 'header', 'query', 'cookie', 'ticket'] as const
export type Mode = typeof MODES[number]
export type Carrier = typeof CARRIERS[number]

/** How a code is brought about. */
interface Cause {
  /** Whether the handshake is refused before a first message is read, by the request for a ticket, or by the checks of the credential. */
  readonly at: 'upgrade' | 'token' | 'check' | 'deadline'
  readonly route?: (carrier: Carrier) => RouteWsAuthOptions
  readonly token?: (sub: string) => string
  readonly query?: string
  /** What a dry run finds if that is not the refusal. */
  readonly dryRun?: number
  /** Carriers for which the code cannot come. */
  readonly never?: readonly Carrier[]
  /** It is not a websocket of the plugin. */
  readonly path?: string
}

const DAY = 86_400
const now = (): number => Math.floor(Date.now() / 1000)
const goodToken = (sub: string): string => sign({ sub, roles: ['member'], exp: now() + DAY })
const throwing = (code: WsAuthErrorCode): Pick<Cause, 'at' | 'route' | 'never'> => {
  return { at: 'check', route: () => ({ verify: () => { throw new WsAuthError(code) } }), never: ['ticket', 'message'] }
}
const NOWHERE = { header: false, subprotocol: false, query: false, cookie: false, message: false } as const

const CAUSES: Readonly<Record<string, Cause>> = {
  // The app takes tokens from another place than the client thinks. A dry run has its token in the header, which counts always.
  WS_AUTH_TOKEN_MISSING: { at: 'upgrade', dryRun: 426, route: (carrier) => ({ token: { ...NOWHERE, [carrier === 'header' ? 'subprotocol' : 'header']: true } }) },
  WS_AUTH_TOKEN_INVALID: { at: 'token', token: (sub) => sign({ sub, roles: ['member'], exp: now() + DAY }, 'another secret of thirty-two bytes') },
  WS_AUTH_TOKEN_EXPIRED: { at: 'token', token: (sub) => sign({ sub, roles: ['member'], exp: now() - DAY }) },
  WS_AUTH_TOKEN_REVOKED: { at: 'token', token: (sub) => sign({ sub, sid: 'revoked', roles: ['member'], exp: now() + DAY }) },
  WS_AUTH_TOKEN_AMBIGUOUS: { at: 'upgrade', query: '&token=one&token=two' },
  WS_AUTH_TICKET_INVALID: { at: 'upgrade', query: '&ticket=bogus', route: (carrier) => carrier === 'ticket' ? {} : { tickets: { require: true } } },
  WS_AUTH_FORBIDDEN: { at: 'check', route: () => ({ roles: ['admin'] }) },
  WS_AUTH_ORIGIN_FORBIDDEN: { at: 'upgrade', route: () => ({ origin: ['https://elsewhere.example'] }) },
  // The app waits for a first message, and the client thinks that its token has arrived.
  WS_AUTH_TIMEOUT: { at: 'deadline', route: () => ({ token: { ...NOWHERE, message: { timeout: 50 } } }), never: ['message', 'ticket'] },
  WS_AUTH_LIMIT: { at: 'check', token: () => goodToken('full') },
  WS_AUTH_BUSY: throwing('WS_AUTH_BUSY' as WsAuthErrorCode),
  WS_AUTH_UNAVAILABLE: { at: 'check', route: () => ({ authorize: () => { throw new Error('the database is down') } }) },
  WS_AUTH_HANDSHAKE_INVALID: throwing('WS_AUTH_HANDSHAKE_INVALID'),
  WS_AUTH_ROUTE_NOT_WEBSOCKET: { at: 'upgrade', path: '/plain', dryRun: 200 },
  WS_AUTH_ROUTE_UNPROTECTED: { at: 'upgrade', path: '/outside', dryRun: 200 }
}

/** A cell, and what must come of it. */
export interface Row {
  readonly name: string
  readonly cell: Cell
  readonly expected: {
    readonly word: string
    readonly code: number
    readonly status: number | undefined
    readonly does: Does
    readonly tokenCalls: number
    readonly sockets: number
    readonly posts: number
    readonly dryRuns: number
  }
}

/** Declares the routes of the table. */
export function declareRoutes (app: FastifyInstance): void {
  app.get('/plain', async () => 'no websocket')
  app.get('/good', { websocket: true }, () => {})
  for (const mode of MODES) {
    app.get(`/again/${mode}`, { websocket: true, wsAuth: { rejectWith: mode, token: { message: true } } }, () => {})
    for (const [code, { route, path }] of Object.entries(CAUSES)) {
      if (!Object.hasOwn(wsAuthErrors, code) || path !== undefined) continue
      for (const carrier of CARRIERS) {
        const { token, ...options } = route?.(carrier) ?? {}
        const message = carrier === 'message' ? { message: true } : {}
        app.get(`/${code}/${mode}/${carrier}`, { websocket: true, wsAuth: { rejectWith: mode, ...options, token: { ...message, ...token } } }, () => {})
      }
    }
  }
}

/** The number of the cell that a request belongs to. */
export function cellOf ({ url }: Pick<FastifyRequest['raw'], 'url'>): number {
  return Number(/[?&]cell=(\d+)/.exec(url ?? '')?.[1])
}

/** All rows, in one order. @param base the URL of the server */
export function rowsOf (base: string): Row[] {
  const rows: Row[] = []
  const add = (row: Omit<Row, 'cell'>, cell: Omit<Cell, 'client' | 'url'>, path: string, query: string): void => {
    for (const client of ['connect', 'class'] as const) {
      const id = rows.length
      rows.push({ ...row, name: `${row.name}, ${client}`, cell: { ...cell, client, url: `${base}${path}?cell=${id}${query}` } })
    }
  }
  for (const code of Object.keys(wsAuthErrors) as WsAuthErrorCode[]) {
    const cause = CAUSES[code]
    if (cause === undefined) throw new Error(`nothing causes ${code}`)
    for (const mode of MODES) {
      for (const carrier of CARRIERS) {
        if (cause.never?.includes(carrier) === true) continue
        const cell = cellFor(code, cause, mode, carrier, base)
        add({ name: `${code} ${mode} ${carrier}`, expected: expectedOf(code, cause, mode, carrier) }, cell, cause.path ?? `/${code}/${mode}/${carrier}`, cell.tickets === undefined ? cause.query ?? '' : '')
      }
    }
  }
  return rows
}

function cellFor (code: WsAuthErrorCode, { token = goodToken }: Cause, mode: Mode, carrier: Carrier, base: string): Omit<Cell, 'client' | 'url'> {
  const origin: Record<string, string> = code === 'WS_AUTH_ORIGIN_FORBIDDEN' ? { origin: 'http://evil.example' } : mode === 'auto' ? { origin: base.replace('ws', 'http') } : {}
  const [first, second] = [token(`${code}-1`), token(`${code}-2`)]
  const isMissing = code === 'WS_AUTH_TOKEN_MISSING'
  if (carrier === 'cookie') return { headers: { ...origin, ...isMissing ? {} : { cookie: `token=${first}` } } }
  if (carrier !== 'ticket') return { via: carrier, tokens: [first, second], headers: origin }
  if (code === 'WS_AUTH_TICKET_INVALID') return { tickets: ['bogus', 'bogus too'], headers: origin }
  return { ticket: true, headers: origin, ...isMissing ? {} : { tokens: [first, second] } }
}

function expectedOf (code: WsAuthErrorCode, cause: Cause, mode: Mode, carrier: Carrier): Row['expected'] {
  const { close, statusCode } = wsAuthErrors[code]
  const isMissing = code === 'WS_AUTH_TOKEN_MISSING'
  const isPost = carrier === 'ticket' && (cause.at === 'token' || isMissing)
  // After the upgrade only a close frame can answer. No word is in the frame of a refusal that has none.
  const isAfterUpgrade = cause.at === 'deadline' || (carrier === 'message' && (cause.at === 'check' || cause.at === 'token'))
  const isClosed = !isPost && close !== null && (mode !== 'http' || isAfterUpgrade)
  const hasDryRun = !isPost && !isClosed
  const found = hasDryRun ? isMissing && carrier === 'cookie' ? statusCode : cause.dryRun ?? statusCode : undefined
  const isSeen = isClosed || isPost || found === statusCode
  const word = isSeen ? wordOf(code) : ''
  const does = doesAfter(word)
  const isAsked = does === 'ask' && (carrier !== 'cookie')
  const tries = isAsked ? 2 : 1
  const hasToken = carrier !== 'cookie' && !(carrier === 'ticket' && (isMissing || code === 'WS_AUTH_TICKET_INVALID'))
  return {
    word,
    code: isClosed ? close.code : 1006,
    status: isPost ? statusCode : found,
    does,
    // A refused ticket says nothing about the token.
    tokenCalls: hasToken ? word === 'ticket_invalid' ? 1 : tries : 0,
    sockets: isPost ? 0 : tries,
    // A dry run has a ticket of its own.
    posts: carrier !== 'ticket' || code === 'WS_AUTH_TICKET_INVALID' ? 0 : hasDryRun ? 2 * tries : tries,
    dryRuns: hasDryRun ? tries : 0
  }
}
