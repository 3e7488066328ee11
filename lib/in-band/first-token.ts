/*
 * Finds the token in a first message: in an auth frame, or in a message of the client's own protocol.
 */
import { WsAuthError } from '../base/errors'
import { nameOfError } from '../base/redaction'
import { ignoreRejection } from '../base/thenable'
import { readAuthFrame } from '../connection/auth-frames'
import type { AuthFrame } from '../connection/auth-frames'
import type { Credential } from '../credentials/found'
import type { MessageSource } from '../options/complete-options'
import { credentialOf } from './frame-credential'

/** A credential, and the auth frame that it came in; `null` if it came in a message of another protocol. */
export interface FirstToken {
  readonly credential: Credential
  readonly frame: AuthFrame | null
}

/**
 * Reads the token, or the ticket. Returns a refusal if there is none.
 *
 * @param maxBytes the longest auth frame
 */
export function readFirstToken ({ read }: MessageSource, data: Buffer, isBinary: boolean, maxBytes: number): FirstToken | WsAuthError {
  if (read !== null) return readByApp(read, data, isBinary)
  const frame = isBinary ? null : readAuthFrame(data, maxBytes)
  if (frame?.type !== 'auth' || (frame.token === null && frame.ticket === null)) return invalid('the first message is no auth frame with a token')
  const credential = credentialOf(frame)
  return credential instanceof WsAuthError ? credential : { credential, frame }
}

function readByApp (read: NonNullable<MessageSource['read']>, data: Buffer, isBinary: boolean): FirstToken | WsAuthError {
  try {
    const token: unknown = read(isBinary ? '' : data.toString(), data)
    ignoreRejection(token)
    if (typeof token === 'string' && token !== '') return { credential: { token, source: 'message' }, frame: null }
    return invalid('token.message.read found no token in the first message')
  } catch (error) {
    return invalid(`token.message.read threw ${nameOfError(error)} at the first message`)
  }
}

function invalid (cause: string): WsAuthError {
  return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause })
}
