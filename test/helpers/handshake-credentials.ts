/*
 * Where a handshake carries its tokens, after DESIGN 2: slow and plain, with nothing of the library in it.
 */
import { createHmac } from 'node:crypto'
import { COOKIE_SECRET, Refused } from './handshake-contract'
import type { AppRule, RouteRule, Sent, Source, TokenRule, World } from './handshake-contract'

interface Names {
  readonly header: string | null
  readonly isBearer: boolean
  readonly subprotocol: string | null
  readonly query: string | null
  readonly cookie: { readonly name: string, readonly signed: boolean } | null
  readonly param: string | null
  readonly message: { readonly maxBytes: number } | null
}

/** DESIGN 1.1, `token`: defaults, over them the plugin's, over them the route's. */
export function namesOf (app: AppRule, route: RouteRule): Names {
  const given: TokenRule = { header: true, subprotocol: true, query: true, cookie: true, param: false, message: false, ...app.token, ...route.token }
  const named = (value: boolean | string | undefined, standard: string): string | null => typeof value === 'string' ? value : value === true ? standard : null
  const { cookie = true } = given
  const ownCookie = app.jwtCookie ?? { name: 'token', signed: false }
  return {
    header: named(given.header, 'authorization'),
    isBearer: given.header === true,
    subprotocol: named(given.subprotocol, 'bearer'),
    query: named(given.query, 'token'),
    cookie: cookie === false ? null : cookie === true ? ownCookie : typeof cookie === 'string' ? { name: cookie, signed: false } : { name: cookie.name, signed: cookie.signed === true },
    param: named(given.param, 'token'),
    message: given.message === false || given.message === undefined ? null : { maxBytes: given.message === true ? 8192 : given.message.maxBytes ?? 8192 }
  }
}

/** All markers that any route of the app has: their tokens are never echoed. */
export function markersOf (app: AppRule): string[] {
  return app.routes.filter(({ kind }) => kind === 'websocket').flatMap((route) => namesOf(app, route).subprotocol ?? [])
}

function valuesOf (sent: Sent, name: string): string[] {
  return sent.headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value.trim())
}

export function valueOf (sent: Sent, name: string): string | null {
  const values = valuesOf(sent, name)
  return values.length === 0 ? null : values.join(', ')
}

/** What is left of a list header: its entries. */
function entriesOf (list: string): string[] {
  return list.split(',').map((entry) => entry.trim())
}

/** An upgrade, or a plain request and so a dry run (DESIGN 1.4, 2.2). */
export function isUpgrade (sent: Sent): boolean {
  if (sent.way === 'inject') return true
  const options = entriesOf(valueOf(sent, 'connection') ?? '').map((option) => option.toLowerCase())
  return options.includes('upgrade') && valueOf(sent, 'upgrade')?.toLowerCase() === 'websocket'
}

/** RFC 6455, 4.2.1. */
export function assertHandshake (sent: Sent, protocols: Protocols): void {
  const key = valueOf(sent, 'sec-websocket-key')
  const isValid = sent.method === 'GET' && sent.version === '1.1' && valuesOf(sent, 'host').length === 1 &&
    valueOf(sent, 'sec-websocket-version') === '13' && key !== null && /^[+/0-9A-Za-z]{22}==$/.test(key) &&
    (valueOf(sent, 'content-length') ?? '0') === '0' && valueOf(sent, 'transfer-encoding') === null
  if (sent.way === 'raw' && !isValid) throw new Refused('WS_AUTH_HANDSHAKE_INVALID')
  if (!protocols.isValid) throw new Refused('WS_AUTH_HANDSHAKE_INVALID')
}

interface Protocols {
  readonly isValid: boolean
  /** Tokens by their markers. */
  readonly tokens: ReadonlyArray<{ readonly marker: string, readonly token: string }>
  readonly rest: readonly string[]
}

/** DESIGN 3.1, the second source. */
export function readProtocols (sent: Sent, markers: readonly string[]): Protocols {
  const header = valueOf(sent, 'sec-websocket-protocol')
  if (header === null) return { isValid: true, tokens: [], rest: [] }
  const entries = entriesOf(header)
  const tokens: Array<{ marker: string, token: string }> = []
  const rest: string[] = []
  entries.forEach((entry, i) => {
    const before = entries[i - 1] ?? ''
    const encoded = /^base64url\.([^.]+)\.(.+)$/.exec(entry)
    const marker = encoded?.[1] ?? ''
    if (encoded !== null && markers.includes(marker)) tokens.push({ marker, token: Buffer.from(encoded[2] ?? '', 'base64url').toString() })
    else if (markers.includes(before)) tokens.push({ marker: before, token: entry })
    else rest.push(entry)
  })
  const areTokens = entries.every((entry) => /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(entry)) && new Set(entries).size === entries.length
  return { isValid: areTokens && rest.length > 0, tokens, rest }
}

/** DESIGN 3.1: which subprotocol is answered. */
export function chooseProtocol (app: AppRule, { rest }: Protocols): string | null {
  if (rest.length === 0) return null
  if (app.handleProtocols) {
    const own = ['chat', 'beta'].find((name) => rest.includes(name))
    if (own !== undefined) return own
  }
  const ours = [...markersOf(app), 'ws-auth']
  return rest.find((entry) => !ours.includes(entry)) ?? rest[0] ?? null
}

/** A name or a value of a form (WHATWG URL, 5.1); as it is where it is none. */
export function formText (text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return text
  }
}

function readQuery (url: string, wanted: string): string[] {
  const [, ...query] = url.split('?')
  return query.join('?').split('&').flatMap((pair) => {
    const [name = '', ...value] = pair.split('=')
    return formText(name) === wanted ? [formText(value.join('='))] : []
  })
}

function readCookies (sent: Sent, wanted: string): string[] {
  return valuesOf(sent, 'cookie').join('; ').split(';').flatMap((pair) => {
    const [name = '', ...value] = pair.split('=')
    return name.trim() === wanted ? [decodeURIComponent(value.join('=').trim())] : []
  })
}

function readParam (url: string, path: string, name: string | null): string[] {
  const index = path.split('/').indexOf(`:${name}`)
  return index < 0 ? [] : [formText((url.split('?')[0] ?? '').split('/')[index] ?? '')]
}

interface Found {
  readonly source: Source
  readonly token: string
}

interface Credentials {
  readonly found: Found | null
  readonly ticket: string | null
}

/** RFC 6750, 2.1. */
function bearerOf (value: string): string | null {
  return /^bearer(?:[ \t]|$)/i.test(value) ? value.slice(6).trim() : null
}

/** DESIGN 3.1: where tokens are, and that there is one. */
export function readCredentials (world: World, sent: Sent, protocols: Protocols, requiresTicket: boolean): Credentials {
  const { app, route } = world
  const names = namesOf(app, route)
  const headers: string[][] = []
  if (names.header !== null && !names.isBearer) headers.push(valuesOf(sent, names.header))
  if (names.isBearer || !isUpgrade(sent)) {
    const values = valuesOf(sent, 'authorization')
    headers.push(values.length > 1 ? values : values.flatMap((value) => bearerOf(value) ?? []))
  }
  const explicit: Array<[Source, string[]]> = [
    ...headers.map((values): [Source, string[]] => ['header', values]),
    ['subprotocol', protocols.tokens.filter(({ marker }) => marker === names.subprotocol).map(({ token }) => token)],
    ['query', names.query === null ? [] : readQuery(sent.url, names.query)],
    ['param', readParam(sent.url, route.path, names.param)]
  ]
  const tickets = app.tickets === null ? [] : readQuery(sent.url, app.tickets.query)
  if (tickets.length > 1 || explicit.some(([, values]) => values.length > 1)) throw new Refused('WS_AUTH_TOKEN_AMBIGUOUS')
  const given = explicit.filter(([, [value = '']]) => value !== '').map(([source, [token = '']]): Found => ({ source, token }))
  const ticket = tickets[0] === undefined || tickets[0] === '' ? null : tickets[0]
  if (given.length > 1 || (given.length > 0 && ticket !== null && !requiresTicket)) throw new Refused('WS_AUTH_TOKEN_AMBIGUOUS')
  const [found] = given
  if (found !== undefined) return { found, ticket }
  if (ticket !== null && !requiresTicket) return { found: null, ticket }
  return { found: readAmbient(names, sent), ticket }
}

/** A cookie counts where nothing else does. */
function readAmbient ({ cookie }: Names, sent: Sent): Found | null {
  const values = cookie === null ? [] : readCookies(sent, cookie.name)
  if (values.length > 1) throw new Refused('WS_AUTH_TOKEN_AMBIGUOUS')
  const [value = ''] = values
  if (cookie === null || value === '') return null
  const token = cookie.signed ? unsign(value) : value
  // A cookie that is not signed is none of the app's: it is refused where it is read.
  if (token === null) throw new Refused('WS_AUTH_TOKEN_INVALID')
  return { source: 'cookie', token }
}

/** The value of a signed cookie, or `null` where the signature is wrong. */
function unsign (value: string): string | null {
  const end = value.lastIndexOf('.')
  const text = value.slice(0, Math.max(end, 0))
  return signCookie(text) === value ? text : null
}

export function signCookie (text: string): string {
  return `${text}.${createHmac('sha256', COOKIE_SECRET).update(text).digest('base64').replace(/=+$/, '')}`
}
