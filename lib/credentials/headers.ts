/*
 * Takes tokens out of the header and the cookie of a request once the hooks of the app have run: hooks may use them, and later code
 * that logs or copies the headers must not find them.
 */
import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { countHeader, trimSpaces } from '../base/http-headers'
import { BEARER_HEADER } from '../options/complete-options'
import type { TokenSources } from '../options/complete-options'
import { NONE } from './found'
import type { FoundToken, TakenHeaders } from './found'
import { setHeader } from './set-header'

/** RFC 6750, 2.1. The scheme has no case (RFC 9110, 11.1). */
const BEARER = /^bearer(?:[ \t]+(.*))?$/i

/** Takes the tokens out of the header and the cookie of a request. */
export function takeHeaders (request: FastifyRequest, sources: TokenSources): TakenHeaders {
  const taken = { header: takeFromHeader(request, sources.header), cookie: takeFromCookie(request, sources.cookie) }
  hideAssigned(request, sources)
  return taken
}

/** As {@link takeHeaders}, for a dry run: the Authorization header always counts, because a page can send it with `fetch`. */
export function takePlainHeaders (request: FastifyRequest, sources: TokenSources): TakenHeaders {
  const taken = takeHeaders(request, sources)
  if (sources.header?.bearer === true) return taken
  const bearer = takeHeaders(request, { ...sources, header: BEARER_HEADER, cookie: null })
  return { header: [...taken.header, ...bearer.header], cookie: taken.cookie }
}

/**
 * Takes the tokens out of headers that the app, or a schema for headers, assigned to `request.headers`. Fastify shows them in place of
 * the received headers, so a token that was taken out there is still here. The plugin never reads a token from them.
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

/** Finds the tokens in the header and the cookie of a request, and leaves them there. */
export function findHeaders (request: FastifyRequest, { header, cookie }: TokenSources): TakenHeaders {
  return { header: findInHeader(request, header), cookie: findInCookie(request, cookie)?.tokens ?? NONE }
}

function takeFromHeader (request: FastifyRequest, header: TokenSources['header']): readonly FoundToken[] {
  const found = findInHeader(request, header)
  if (header !== null && found.length > 0) setHeader(request.raw, header.name, '')
  return found
}

function findInHeader ({ raw }: FastifyRequest, header: TokenSources['header']): readonly FoundToken[] {
  if (header === null) return NONE
  // A header may have the name of a property that every object has.
  const value = Object.hasOwn(raw.headers, header.name) ? raw.headers[header.name] : undefined
  if (value === undefined) return NONE
  const token = header.bearer ? BEARER.exec(String(value))?.[1] : String(value)
  // Node keeps the first of two Authorization headers, and joins two of most other headers.
  const count = Math.max(1, countHeader(raw.rawHeaders, header.name))
  if (token === undefined && count === 1) return NONE
  const found = { name: '', token: trimSpaces(token ?? '') }
  return count === 1 ? [found] : new Array(count).fill(found)
}

function takeFromCookie (request: FastifyRequest, cookie: TokenSources['cookie']): readonly FoundToken[] {
  const found = findInCookie(request, cookie)
  if (found === null) return NONE
  if (request.cookies != null) request.cookies = found.others
  setHeader(request.raw, 'cookie', found.rest.join(';').trim())
  return found.tokens
}

/** The tokens, the other cookies as they are parsed, and the other pairs of the header; `null` without a token. */
function findInCookie (request: FastifyRequest, cookie: TokenSources['cookie']): { tokens: readonly FoundToken[], others: FastifyRequest['cookies'], rest: string[] } | null {
  const header = request.raw.headers.cookie
  if (cookie == null || header === undefined || !header.includes(cookie.name)) return null
  const rest = pairsWithout(header, cookie.name)
  const count = header.split(';').length - rest.length
  if (count === 0) return null
  const { [cookie.name]: token, ...others } = request.cookies ?? request.server.parseCookie(header)
  return { tokens: new Array(count).fill({ name: '', token: token ?? '' }), others, rest }
}

/** The pairs of a Cookie header (RFC 6265, 4.2.1) that have another name. */
function pairsWithout (header: string, name: string): string[] {
  return header.split(';').filter((pair) => {
    const equals = pair.indexOf('=')
    return equals === -1 || pair.slice(0, equals).trim() !== name
  })
}
