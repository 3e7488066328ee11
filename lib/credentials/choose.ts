/*
 * Chooses the token of a handshake among those that were found. Only the names of the route count, and two tokens are an error.
 */
import type { FastifyRequest } from 'fastify'
import { WsAuthError } from '../base/errors'
import type { TokenSources } from '../options/complete-options'
import type { Credential, FoundToken, TakenCredentials, TakenHeaders, TokenSource } from './found'

/**
 * Returns the ticket of a handshake, or `null`.
 *
 * @param name the query parameter, or `null` if tickets are off
 * @throws WsAuthError `WS_AUTH_TOKEN_AMBIGUOUS` for more than one ticket
 */
export function readTicket (taken: TakenCredentials, name: string | null): Credential | null {
  return name === null ? null : onlyOne('ticket', taken.query, name)
}

/**
 * Returns the token of a handshake, or `null`.
 *
 * @param ticket a ticket that takes the token's place, or `null`
 * @throws WsAuthError `WS_AUTH_TOKEN_AMBIGUOUS` for more than one token, `WS_AUTH_TOKEN_INVALID` for a cookie with a wrong signature
 */
export function readCredential (request: FastifyRequest, sources: TokenSources, taken: TakenCredentials, headers: TakenHeaders, ticket: Credential | null): Credential | null {
  const credential = oneOf(
    ticket,
    onlyOne('header', headers.header, '', sources.header?.name ?? 'authorization'),
    onlyOne('query', taken.query, sources.query),
    onlyOne('subprotocol', taken.subprotocol, sources.subprotocol),
    taken.param === null ? null : onlyOne('param', [taken.param], sources.param)
  )
  // Browsers send a cookie by themselves: it counts only if the client sent no other token.
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

/** @param shown the name in the log, if it is another than the name to look for */
function onlyOne (source: TokenSource, found: readonly FoundToken[], name: string | null, shown: string | null = name): Credential | null {
  let one: FoundToken | null = null
  for (const token of found) {
    if (token.name !== name) continue
    if (one !== null) throw ambiguous(`more than one in ${source} ${shown}`)
    one = token
  }
  return one === null || one.token === '' ? null : { token: one.token, source }
}

function ambiguous (cause: string): WsAuthError {
  return new WsAuthError('WS_AUTH_TOKEN_AMBIGUOUS', { cause })
}

function unsigned (request: FastifyRequest, cookie: TokenSources['cookie'], found: Credential | null): Credential | null {
  if (found === null || cookie?.signed !== true) return found
  const { valid, value } = request.unsignCookie(found.token)
  if (!valid) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'the signature of the cookie is wrong' })
  return { ...found, token: value }
}
