/*
 * Where a token may be in a handshake. It is taken out of the URL and of the subprotocols before Fastify sees the
 * request, since the URL goes into the log and the first subprotocol into the answer; header and cookie are taken out
 * when they have been read. What is taken depends on the names in use anywhere in the app, what counts on the route's.
 */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { WsAuthError } from '../base/errors'
import { looksLikeJwt } from '../token/jwt-format'
import { countHeader, isHttp2 } from '../base/http-headers'
import { HTTP_TOKEN } from '../base/grammar'
import { BEARER_HEADER } from '../options/complete-options'
import type { TokenSources } from '../options/complete-options'
import { findParam } from './route-path'
import type { RoutePath, Slashes } from './route-path'

/** The name of the `token` option that a token was found by, or `ticket`. */
export type TokenSource = 'header' | 'subprotocol' | 'query' | 'cookie' | 'param' | 'message' | 'ticket'

/** A token, and where it was. */
export interface Credential {
  readonly token: string
  readonly source: TokenSource
}

/** The names in use anywhere in the app. */
export interface KnownNames {
  /** Each that the plugin or a route was given. */
  readonly sources: Set<TokenSources>
  readonly query: Set<string>
  readonly subprotocol: Set<string>
  /** All routes, and whether one of them has a token in its path. */
  readonly paths: RoutePath[]
  hasParam: boolean
  /** What ends the path: `?` and `#`, and `;` where the router was told so. */
  readonly queryStart: RegExp
  /** What the router was told of slashes and of the length of a parameter. */
  readonly slashes?: Slashes | undefined
  readonly maxParamLength?: number | undefined
}

interface FoundToken {
  readonly name: string
  readonly token: string
}

/** What was taken out of a request before Fastify saw it. */
export interface TakenCredentials {
  readonly query: readonly FoundToken[]
  /** The other parameters of the query whose values look like a JWT: they are left without their values. */
  readonly lookalikes: readonly string[]
  readonly param: FoundToken | null
  readonly subprotocol: readonly FoundToken[]
  /** False where the subprotocols are no valid list, or none is left that could be chosen. */
  readonly hasValidProtocols: boolean
}

/** What was taken out of a request's headers when they had been used. */
export interface TakenHeaders {
  readonly header: readonly FoundToken[]
  readonly cookie: readonly FoundToken[]
}

/** What stands in the path in place of a token. */
export const PARAM_PLACEHOLDER = '-'
/** What stands in the query in place of a value that looks like a token and has another name. */
const REDACTED = 'redacted'

/** The subprotocol of clients that understand auth frames: it is no protocol of the app. */
const OUR_PROTOCOL = 'ws-auth'

const AMPERSAND = 0x26
const HASH = 0x23

/** RFC 6750, 2.1; the scheme is compared without case (RFC 9110, 11.1). */
const BEARER = /^bearer(?:[ \t]+(.*))?$/i
/** The one-entry form of a subprotocol: `base64url.<marker>.<token in base64url>`. */
const ENCODED = /^base64url\.([^.]+)\.(.*)$/

const NONE: readonly never[] = []
const NOTHING: TakenCredentials = { query: NONE, lookalikes: NONE, param: null, subprotocol: NONE, hasValidProtocols: true }

/** Takes the tokens out of a request's URL and subprotocols. */
export function takeCredentials (request: IncomingMessage, names: KnownNames): TakenCredentials {
  const { query, lookalikes } = takeFromQuery(request, names)
  const param = takeFromPath(request, names)
  const protocols = request.headers['sec-websocket-protocol']
  if (protocols === undefined) return query === NONE && lookalikes === NONE && param === null ? NOTHING : { ...NOTHING, query, lookalikes, param }
  return { query, lookalikes, param, ...takeFromProtocols(request, protocols, names.subprotocol) }
}

const EMPTY_QUERY: Pick<TakenCredentials, 'query' | 'lookalikes'> = { query: NONE, lookalikes: NONE }

/** Reads the pairs of a query one after the other: there may be thousands, and few have a name that is known. */
function takeFromQuery (request: IncomingMessage, names: KnownNames): Pick<TakenCredentials, 'query' | 'lookalikes'> {
  const url = request.url ?? ''
  const start = url.search(names.queryStart)
  if (start === -1) return EMPTY_QUERY
  const query: FoundToken[] = []
  const lookalikes: string[] = []
  // What is left of the URL, in pieces: each with the separator before it.
  let kept = ''
  let keptFrom = start
  for (let from = start; from < url.length;) {
    const end = endOfPair(url, from + 1)
    const taken = takePair(url.slice(from + 1, end), names, query, lookalikes)
    if (taken !== null) {
      kept += url.slice(keptFrom, from) + (taken === '' ? '' : url.charAt(from) + taken)
      keptFrom = end
    }
    from = end
  }
  if (keptFrom === start) return EMPTY_QUERY
  kept += url.slice(keptFrom)
  setUrl(request, url.slice(0, start) + (kept === '' ? '' : url.charAt(start) + kept.slice(1)))
  return { query: query.length === 0 ? NONE : query, lookalikes: lookalikes.length === 0 ? NONE : lookalikes }
}

/** Nothing sends a fragment; what looks like one is in the URL, and in the log. */
function endOfPair (url: string, from: number): number {
  for (let i = from; i < url.length; i++) {
    const character = url.charCodeAt(i)
    if (character === AMPERSAND || character === HASH) return i
  }
  return url.length
}

/** What stays in place of a pair of a query: nothing of a token, the name of what looks like one; `null` for the whole pair. */
function takePair (pair: string, names: KnownNames, query: FoundToken[], lookalikes: string[]): string | null {
  if (pair === '') return null
  const equals = pair.indexOf('=')
  const name = decodeQuery(equals === -1 ? pair : pair.slice(0, equals))
  if (names.query.has(name)) {
    query.push({ name, token: equals === -1 ? '' : decodeQuery(pair.slice(equals + 1)) })
    return ''
  }
  if (equals === -1 || !looksLikeJwt(decodeQuery(pair.slice(equals + 1)))) return null
  lookalikes.push(name)
  return pair.slice(0, equals + 1) + REDACTED
}

/** As a form is decoded. What cannot be decoded stays as it is: it will be no valid token. */
function decodeQuery (text: string): string {
  if (!/[%+]/.test(text)) return text
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return text
  }
}

function takeFromPath (request: IncomingMessage, names: KnownNames): FoundToken | null {
  if (!names.hasParam) return null
  const url = request.url ?? ''
  const found = findParam(url, names.paths, names.queryStart, names.slashes)
  if (found === null) return null
  setUrl(request, url.slice(0, found.start) + PARAM_PLACEHOLDER + url.slice(found.end))
  return { name: found.name, token: decodeQuery(url.slice(found.start, found.end).replaceAll('+', '%2B')) }
}

function takeFromProtocols (request: IncomingMessage, header: string, markers: Set<string>): Pick<TakenCredentials, 'subprotocol' | 'hasValidProtocols'> {
  const offered = header.split(',').map(trimSpaces)
  const found: FoundToken[] = []
  const rest = offered.filter((entry, i) => {
    const marker = offered[i - 1]
    const [, name = '', encoded = ''] = ENCODED.exec(entry) ?? []
    if (marker !== undefined && markers.has(marker)) {
      found.push({ name: marker, token: name === marker ? decodeEntry(encoded) : entry })
      return false
    }
    if (!markers.has(name)) return true
    found.push({ name, token: decodeEntry(encoded) })
    return false
  })
  const isList = offered.every((entry) => HTTP_TOKEN.test(entry)) && new Set(offered).size === offered.length
  if (found.length > 0) setHeader(request, 'sec-websocket-protocol', rest.join(', '))
  return { subprotocol: found, hasValidProtocols: isList && rest.length > 0 }
}

function decodeEntry (encoded: string): string {
  return Buffer.from(encoded, 'base64url').toString()
}

/** Without the spaces and tabs around it (RFC 9110, 5.6.3). What `trim` takes beside, ws refuses: after all that was spent. */
function trimSpaces (text: string): string {
  let start = 0
  let end = text.length
  while (isSpace(text[start])) start++
  while (end > start && isSpace(text[end - 1])) end--
  return text.slice(start, end)
}

function isSpace (character: string | undefined): boolean {
  return character === ' ' || character === '\t'
}

/**
 * Takes the tokens out of a request's header and cookie, for all that comes later: nothing that logs or copies the
 * headers will have them. The hooks before may have used them.
 */
export function takeHeaders (request: FastifyRequest, sources: TokenSources): TakenHeaders {
  const taken = { header: takeFromHeader(request, sources.header), cookie: takeFromCookie(request, sources.cookie) }
  hideAssigned(request, sources)
  return taken
}

/** The same for a dry run, in which a token in the Authorization header always counts: a page can send it there with `fetch`. */
export function takePlainHeaders (request: FastifyRequest, sources: TokenSources): TakenHeaders {
  const taken = takeHeaders(request, sources)
  if (sources.header?.bearer === true) return taken
  const bearer = takeHeaders(request, { ...sources, header: BEARER_HEADER, cookie: null })
  return { header: [...taken.header, ...bearer.header], cookie: taken.cookie }
}

/**
 * Takes the tokens out of the headers that an app, or a schema for headers, has assigned to `request.headers`: Fastify lays
 * them over those that were sent, so that what was taken out there is still seen here. They are never read for a token.
 */
export function hideAssigned (request: FastifyRequest, { header, cookie }: TokenSources): void {
  const { headers } = request
  if (headers === request.raw.headers) return
  const seen: IncomingHttpHeaders = { ...headers }
  if (header !== null && Object.hasOwn(seen, header.name) && (!header.bearer || BEARER.test(String(seen[header.name])))) delete seen[header.name]
  if (cookie != null && typeof seen.cookie === 'string') {
    seen.cookie = pairsWithout(seen.cookie, cookie.name).join(';').trim()
    if (seen.cookie === '') delete seen.cookie
  }
  request.headers = seen
}

/**
 * The ticket of a handshake, or `null`.
 *
 * @param name that of its query parameter, `null` where there are no tickets
 * @throws WsAuthError `WS_AUTH_TOKEN_AMBIGUOUS` where there is more than one
 */
export function readTicket (taken: TakenCredentials, name: string | null): Credential | null {
  return name === null ? null : onlyOne('ticket', taken.query, name)
}

/**
 * The token of a handshake, or `null`.
 *
 * @param ticket what stands in its place
 * @throws WsAuthError `WS_AUTH_TOKEN_AMBIGUOUS` where there is more than one, `WS_AUTH_TOKEN_INVALID` for a cookie
 *   whose signature is wrong
 */
export function readCredential (request: FastifyRequest, sources: TokenSources, taken: TakenCredentials, headers: TakenHeaders, ticket: Credential | null): Credential | null {
  const credential = oneOf(
    ticket,
    onlyOne('header', headers.header, '', sources.header?.name ?? 'authorization'),
    onlyOne('query', taken.query, sources.query),
    onlyOne('subprotocol', taken.subprotocol, sources.subprotocol),
    taken.param === null ? null : onlyOne('param', [taken.param], sources.param)
  )
  // A cookie comes by itself: it counts only where nothing was sent on purpose.
  return credential ?? unsigned(request, sources.cookie, onlyOne('cookie', headers.cookie, '', sources.cookie?.name))
}

function oneOf (...found: Array<Credential | null>): Credential | null {
  let one: Credential | null = null
  for (const credential of found) {
    if (credential === null) continue
    if (one !== null) throw ambiguous(`one in ${one.source}, another in ${credential.source}`)
    one = credential
  }
  return one
}

function ambiguous (cause: string): WsAuthError {
  return new WsAuthError('WS_AUTH_TOKEN_AMBIGUOUS', { cause })
}

function onlyOne (source: TokenSource, found: readonly FoundToken[], name: string | null, shown: string | null = name): Credential | null {
  let one: FoundToken | null = null
  for (const token of found) {
    if (token.name !== name) continue
    if (one !== null) throw ambiguous(`more than one in ${source} ${shown}`)
    one = token
  }
  return one === null || one.token === '' ? null : { token: one.token, source }
}

function takeFromHeader ({ raw }: FastifyRequest, header: TokenSources['header']): readonly FoundToken[] {
  if (header === null) return NONE
  // A header may have the name of a property of every object.
  const value = Object.hasOwn(raw.headers, header.name) ? raw.headers[header.name] : undefined
  if (value === undefined) return NONE
  const token = header.bearer ? BEARER.exec(String(value))?.[1] : String(value)
  // Node keeps the first of two Authorization headers, and joins two of most others.
  const count = Math.max(1, countHeader(raw.rawHeaders, header.name))
  if (token === undefined && count === 1) return NONE
  setHeader(raw, header.name, '')
  const found = { name: '', token: trimSpaces(token ?? '') }
  return count === 1 ? [found] : new Array(count).fill(found)
}

function takeFromCookie (request: FastifyRequest, cookie: TokenSources['cookie']): readonly FoundToken[] {
  const header = request.raw.headers.cookie
  if (cookie == null || header === undefined || !header.includes(cookie.name)) return NONE
  const rest = pairsWithout(header, cookie.name)
  const count = header.split(';').length - rest.length
  if (count === 0) return NONE

  const { [cookie.name]: token, ...others } = request.cookies ?? request.server.parseCookie(header)
  if (request.cookies != null) request.cookies = others
  setHeader(request.raw, 'cookie', rest.join(';').trim())
  return new Array(count).fill({ name: '', token: token ?? '' })
}

/** The pairs of a Cookie header (RFC 6265, 4.2.1) that have another name. */
function pairsWithout (header: string, name: string): string[] {
  return header.split(';').filter((pair) => {
    const equals = pair.indexOf('=')
    return equals === -1 || pair.slice(0, equals).trim() !== name
  })
}

function unsigned (request: FastifyRequest, cookie: TokenSources['cookie'], found: Credential | null): Credential | null {
  if (found === null || cookie?.signed !== true) return found
  const { valid, value } = request.unsignCookie(found.token)
  if (!valid) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'the signature of the cookie is wrong' })
  return { ...found, token: value }
}

/** Sets a header, or takes it out where the value is empty. What was sent keeps its length: Node has counted it. */
function setHeader (request: IncomingMessage, name: string, value: string): void {
  if (value !== '') request.headers[name] = value
  // Node has a getter alone for the headers of an HTTP/2 request, which no connection outlives.
  else if (isHttp2(request)) delete request.headers[name]
  else request.headers = without(request.headers, name)
  // Made of what was sent and kept, once somebody has asked for it: from now on it is made anew.
  request.headersDistinct = undefined as never
  const { rawHeaders } = request
  if (rawHeaders === undefined) return
  let next = value
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (rawHeaders[i]?.length !== name.length || rawHeaders[i]?.toLowerCase() !== name) continue
    rawHeaders[i + 1] = next
    next = ''
  }
}

function setUrl (request: IncomingMessage, url: string): void {
  request.url = url
  // It is a header there too.
  if (isHttp2(request)) setHeader(request, ':path', url)
}

/**
 * A copy: an object that a property was deleted from is a dictionary, and would keep 400 bytes more for as long as the
 * connection lives. Whoever has the object itself has the header no more either.
 */
function without (headers: IncomingHttpHeaders, name: string): IncomingHttpHeaders {
  const { [name]: taken, ...rest } = headers
  headers[name] = undefined
  return rest
}

/**
 * The subprotocol to answer with (RFC 6455, 4.2.2): what the app chose, else the first that is not a marker, else a
 * marker. Where something was offered something is chosen, else browsers fail the connection.
 */
export function chooseProtocol (offered: Set<string>, markers: Set<string>, chosen: string | false | undefined): string | false {
  if (chosen) return chosen
  const own = [...offered].find((protocol) => !markers.has(protocol) && protocol !== OUR_PROTOCOL)
  return own ?? [...offered][0] ?? false
}

/** Takes out of what Fastify has parsed already what {@link takeCredentials} took out of the URL of a plain request. */
export function hideParsed ({ query, params }: FastifyRequest, taken: TakenCredentials): void {
  const parsed = query as Record<string, unknown>
  for (const { name } of taken.query) delete parsed[name]
  for (const name of taken.lookalikes) parsed[name] = REDACTED
  if (taken.param !== null) (params as Record<string, unknown>)[taken.param.name] = PARAM_PLACEHOLDER
}
