/*
 * The token, or the ticket, of an auth frame.
 */
import { WsAuthError } from '../base/errors'
import type { AuthFrame } from '../connection/auth-frames'
import type { Credential } from '../credentials/found'

/** Returns the credential of a frame, or a refusal if there is none, or more than one. */
export function credentialOf ({ token, ticket }: AuthFrame): Credential | WsAuthError {
  if (token !== null && ticket !== null) return new WsAuthError('WS_AUTH_TOKEN_AMBIGUOUS', { cause: 'the auth frame has a token and a ticket' })
  if (token !== null) return { token, source: 'message' }
  if (ticket !== null) return { token: ticket, source: 'ticket' }
  return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'the auth frame has no token' })
}
