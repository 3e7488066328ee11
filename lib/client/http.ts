/*
 * The HTTP requests of the client: for a ticket, and for a dry run, which says why a handshake failed. Browsers hide it.
 */
import { runtime } from './runtime'
import type { AbortSignalLike, FetchLike } from './types'
import { actionOf, wordOf } from './verdict'
import type { Outcome } from './verdict'

/** An answer of the server, or of a proxy before it. */
export interface Answer extends Outcome {
  readonly ticket?: unknown
}

/** An attempt that failed without a word of the server. */
export function failure (error?: unknown, hint?: string): Outcome {
  return { end: { code: 1006, reason: '', wasOpen: false, error, hint } }
}

/** No user is logged in. */
export function refused (reason: string): Outcome {
  return { end: { code: 1006, reason, wasOpen: false }, action: 'refuse' }
}

/** Sends a request with a token, else with the cookies. @param path a path of the server of the WebSocket. Default: that of the WebSocket. @throws the error of `fetch` */
export async function request (fetch: FetchLike, method: string, url: string, token: string | undefined, signal: AbortSignalLike, path = ''): Promise<Answer> {
  const response = await fetch(new runtime.URL(path, url.replace(/^ws/, 'http')).href, {
    method,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    credentials: token === undefined ? 'include' : 'same-origin',
    cache: 'no-store',
    signal
  })
  const { status } = response
  const { code, ticket } = await response.json().catch(() => null) as { code?: unknown, ticket?: unknown } | null ?? {}
  const reason = wordOf(code)
  const end = { code: 1006, reason, wasOpen: false, status, hint: reason === '' ? hintOf(status) : undefined }
  return { ticket, end, action: reason === '' ? undefined : actionOf(end), least: 1000 * Math.max(0, Number(response.headers.get('retry-after')) || 0) }
}

function hintOf (status: number): string {
  return status === 426 ? 'a dry run was accepted: the network, a proxy, or the CSP of the page' : `${status}, not of fastify-ws-auth`
}
