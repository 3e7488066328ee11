/*
 * Finds the token in a first message: in an auth frame, or in a message of the client's own protocol.
 */
import { WsAuthError } from '../base/errors'
import { nameOfError } from '../base/redaction'
import { ignoreRejection } from '../base/thenable'
import { readAuthFrame } from '../connection/auth-frames'
import type { MessageSource } from '../options/complete-options'

/**
 * Reads the token. Returns a refusal if there is none.
 *
 * @param maxBytes the longest auth frame
 */
export function readFirstToken ({ read }: MessageSource, data: Buffer, isBinary: boolean, maxBytes: number): string | WsAuthError {
  if (read === null) {
    const token = isBinary ? null : readAuthFrame(data, maxBytes)?.token ?? null
    return token ?? invalid('the first message is no auth frame with a token')
  }
  try {
    const token: unknown = read(isBinary ? '' : data.toString(), data)
    ignoreRejection(token)
    if (typeof token === 'string' && token !== '') return token
    return invalid('token.message.read found no token in the first message')
  } catch (error) {
    return invalid(`token.message.read threw ${nameOfError(error)} at the first message`)
  }
}

function invalid (cause: string): WsAuthError {
  return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause })
}
