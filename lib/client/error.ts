/*
 * The error of the client.
 */
import type { End } from './types'

/** A socket was refused or closed, or a renewal was refused. */
export class WsAuthClientError extends Error {
  /** The word of the server, or `''`. */
  declare readonly reason: string
  /** The end of the connection; `null` if it goes on. */
  declare readonly end: End | null

  constructor (message: string, end: End | null = null) {
    super(message)
    this.name = 'WsAuthClientError'
    this.reason = end ? end.reason : message
    this.end = end
  }
}

/** The error of a socket that was refused or closed. */
export function errorOf ({ status, end }: { readonly status: string, readonly end: End }): WsAuthClientError {
  return new WsAuthClientError(`${status}: ${end.reason}`, end)
}
