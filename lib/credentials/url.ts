/*
 * Takes tokens out of the query and the path of a URL, because Fastify logs the URL.
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { isHttp2 } from '../base/http-headers'
import { looksLikeJwt } from '../token/jwt-format'
import { NONE } from './found'
import type { FoundToken, TakenCredentials } from './found'
import type { KnownNames } from './known-names'
import { setHeader } from './set-header'

/** Takes the place of a token in the path. */
export const PARAM_PLACEHOLDER = '-'
/** Takes the place of a value in the query that looks like a token and has another name. */
const REDACTED = 'redacted'

const AMPERSAND = 0x26
const HASH = 0x23

type TakenFromQuery = Pick<TakenCredentials, 'query' | 'lookalikes'>

const EMPTY_QUERY: TakenFromQuery = { query: NONE, lookalikes: NONE }

/** Reads the pairs of a query one by one, because a query may have thousands of pairs and few of them have a known name. */
export function takeFromQuery (request: IncomingMessage, names: KnownNames): TakenFromQuery {
  const url = request.url ?? ''
  const start = url.search(names.queryStart)
  if (start === -1) return EMPTY_QUERY
  const query: FoundToken[] = []
  const lookalikes: string[] = []
  // The rest of the query. Each pair is kept with the separator in front of it.
  let kept = ''
  let keptFrom = start
  for (let from = start; from < url.length;) {
    const end = endOfPair(url, from + 1)
    const replacement = takePair(url.slice(from + 1, end), names, query, lookalikes)
    if (replacement !== null) {
      kept += url.slice(keptFrom, from) + (replacement === '' ? '' : url.charAt(from) + replacement)
      keptFrom = end
    }
    from = end
  }
  if (keptFrom === start) return EMPTY_QUERY
  kept += url.slice(keptFrom)
  setUrl(request, url.slice(0, start) + (kept === '' ? '' : url.charAt(start) + kept.slice(1)))
  return { query: query.length === 0 ? NONE : query, lookalikes: lookalikes.length === 0 ? NONE : lookalikes }
}

/** A client should not send a fragment. If it does, the fragment is in the URL and in the log, so `#` separates pairs too. */
function endOfPair (url: string, from: number): number {
  for (let i = from; i < url.length; i++) {
    const character = url.charCodeAt(i)
    if (character === AMPERSAND || character === HASH) return i
  }
  return url.length
}

/** Returns the text that replaces a pair of the query: empty for a token, redacted for a lookalike; `null` to keep the pair. */
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

/** Decodes a text of a form. Returns an undecodable text as it is: it is no valid token. */
function decodeQuery (text: string): string {
  if (!/[%+]/.test(text)) return text
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return text
  }
}

export function takeFromPath (request: IncomingMessage, names: KnownNames): FoundToken | null {
  const url = request.url ?? ''
  const found = names.findParam(url)
  if (found === null) return null
  setUrl(request, url.slice(0, found.start) + PARAM_PLACEHOLDER + url.slice(found.end))
  return { name: found.name, token: decodeQuery(url.slice(found.start, found.end).replaceAll('+', '%2B')) }
}

function setUrl (request: IncomingMessage, url: string): void {
  request.url = url
  // HTTP/2 has the URL in a header too.
  if (isHttp2(request)) setHeader(request, ':path', url)
}

/** Removes the same tokens from the parsed query and parameters of a plain request, which Fastify parsed before. */
export function hideParsed ({ query, params }: FastifyRequest, taken: TakenCredentials): void {
  const parsed = query as Record<string, unknown>
  for (const { name } of taken.query) delete parsed[name]
  for (const name of taken.lookalikes) parsed[name] = REDACTED
  if (taken.param !== null) (params as Record<string, unknown>)[taken.param.name] = PARAM_PLACEHOLDER
}
