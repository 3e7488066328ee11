/*
 * Explains in the log why no token was found. The most frequent mistakes are close to a right handshake, so a developer can correct them
 * by the log line alone.
 */
import type { FastifyRequest } from 'fastify'
import type { TakenCredentials } from './found'
import { looksLikeJwt } from '../token/jwt-format'
import type { TokenSources } from '../options/complete-options'
import { namesOf, sentNames } from '../base/sent-names'

/** Known schemes of the Authorization header. Any other word there may be a secret. */
const KNOWN_SCHEME = /^(basic|bearer|digest|dpop|hmac|hoba|jwt|mutual|negotiate|ntlm|token)(?![\w-])/i

/** Says where the plugin looked for a token, and what the request had there. */
export function reasonOfMissing ({ raw: { headers } }: FastifyRequest, sources: TokenSources, { lookalikes }: TakenCredentials): string {
  const near = [
    aboutAuthorization(headers.authorization, sources.header),
    aboutSubprotocols(headers['sec-websocket-protocol'], sources.subprotocol),
    lookalikes.length === 0 ? null : `a value in the query looks like a JWT: ${sentNames(lookalikes)}`,
    aboutCookies(headers.cookie, sources.cookie)
  ].filter((reason) => reason !== null)
  return [`no token in ${namesOf(placesOf(sources))}`, ...near].join('; ')
}

/** Without the first message: if it is on, the token is not missing yet. */
function placesOf ({ header, subprotocol, query, cookie, param }: TokenSources): string[] {
  return [
    header === null ? '' : header.bearer ? 'header Authorization: Bearer' : `header ${header.name}`,
    subprotocol === null ? '' : `subprotocol ${subprotocol}`,
    query === null ? '' : `query ${query}`,
    cookie == null ? '' : `cookie ${cookie.name}`,
    param === null ? '' : `param ${param}`
  ].filter((place) => place !== '')
}

function aboutAuthorization (value: string | undefined, header: TokenSources['header']): string | null {
  if (value === undefined) return null
  if (header?.bearer !== true) return 'the request has an Authorization header, which token.header does not read'
  const [, scheme] = KNOWN_SCHEME.exec(value) ?? []
  return `the Authorization header has ${scheme === undefined ? 'an unknown scheme' : `the scheme ${scheme}`} in place of: Bearer <token>`
}

/** The entry after a name that is almost the marker is most likely the token, so it is not shown. */
function aboutSubprotocols (value: string | undefined, marker: string | null): string | null {
  if (value === undefined) return null
  const offered = value.split(',').map((entry) => entry.trim())
  const shown = offered.map((entry, i) => {
    const isAfterMarker = marker !== null && offered[i - 1]?.toLowerCase() === marker.toLowerCase()
    return isAfterMarker || looksLikeJwt(entry) ? '(a token)' : sentNames([entry])
  })
  return `the client offers the subprotocols ${namesOf(shown)}${marker === null ? '' : ` in place of: ${marker}, <token>`}`
}

function aboutCookies (value: string | undefined, cookie: TokenSources['cookie']): string | null {
  if (value === undefined || cookie == null) return null
  return `the cookies are ${sentNames(value.split(';').map((pair) => pair.split('=', 1).join('').trim()))}`
}
