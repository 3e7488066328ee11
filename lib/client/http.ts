/*
 * The HTTP requests of the client: for a ticket, and for a dry run, which says why a handshake failed. Browsers hide it.
 */
import { bearerOf } from './carrier'
import { runtime } from './runtime'
import type { AbortSignalLike, FetchLike } from './types'
import { outcomeOf, wordOf, type Outcome } from './verdict'

/** Sends a request with a token, else with the cookies. @param path a path of the server of the WebSocket. Default: that of the WebSocket. @throws the error of `fetch` */
export async function request (fetch: FetchLike, method: string, url: string, token: string | undefined, signal: AbortSignalLike, path = ''): Promise<Outcome> {
  const response = await fetch(new runtime.URL(path, url.replace(/^ws/, 'http')).href, {
    method,
    headers: bearerOf(token),
    credentials: token ? 'same-origin' : 'include',
    cache: 'no-store',
    signal
  })
  const { status } = response
  const { code, ticket } = Object(await response.json().catch(() => null)) as { readonly code?: unknown, readonly ticket?: unknown }
  const reason = wordOf(code)
  const hint = reason ? undefined : status === 426 ? 'accepted without upgrade: see network, proxy, CSP and "via"' : `${status}, not of fastify-ws-auth`
  return { ...outcomeOf({ reason, status, hint }), ticket, least: 1000 * Math.max(0, Number(response.headers.get('retry-after')) || 0) }
}
