/*
 * The HTTP requests of the client: for a ticket, and for a dry run, which says why a handshake failed.
 */
import { runtime } from './runtime'
import type { AbortSignalLike, FetchLike } from './types'
import { wordOf } from './verdict'

/** An answer of the server, or of a proxy before it. */
export interface Answer {
  readonly status: number
  /** The word of a refusal; `''` if the body is not that of fastify-ws-auth. */
  readonly word: string
  /** `Retry-After`, in milliseconds, or 0. */
  readonly least: number
  readonly ticket: unknown
}

/** Sends a request with a token, else with the cookies. @throws the error of `fetch` */
export async function request (fetch: FetchLike, method: 'GET' | 'POST', url: string, token: string | null, signal: AbortSignalLike): Promise<Answer> {
  const response = await fetch(url, {
    method,
    headers: token === null ? {} : { authorization: `Bearer ${token}` },
    credentials: token === null ? 'include' : 'same-origin',
    cache: 'no-store',
    signal
  })
  const body = await response.json().catch(() => null) as { code?: unknown, ticket?: unknown } | null
  const seconds = Number(response.headers.get('retry-after'))
  return { status: response.status, word: wordOf(body?.code), least: seconds > 0 ? seconds * 1000 : 0, ticket: body?.ticket }
}

/** The address for HTTP: of a path of the same server, else of the WebSocket. */
export function httpOf (url: string, path?: string): string {
  const http = url.replace(/^ws/, 'http')
  return path === undefined ? http : new runtime.URL(path, http).href
}
