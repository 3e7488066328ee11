/*
 * The places where a token is in a handshake: this folder takes each token out of the request and chooses the one that counts. It
 * imports from base, token and options. Start with `take.ts` (before Fastify sees the request), then read `headers.ts` (after the
 * hooks of the app) and `choose.ts`.
 */

/** Where a token was found: the name of a `token` option, or `ticket`. */
export type TokenSource = 'header' | 'subprotocol' | 'query' | 'cookie' | 'param' | 'message' | 'ticket'

/** A token, and where it was found. */
export interface Credential {
  readonly token: string
  readonly source: TokenSource
}

/** A token, and the name of its parameter or marker; empty for a header or a cookie. */
export interface FoundToken {
  readonly name: string
  readonly token: string
}

/** The tokens that were in the URL and the subprotocols of a request. */
export interface TakenCredentials {
  readonly query: readonly FoundToken[]
  /** The names of other query parameters whose values look like a JWT. The parameters stay in the URL, with another value. */
  readonly lookalikes: readonly string[]
  readonly param: FoundToken | null
  readonly subprotocol: readonly FoundToken[]
  /** False if the subprotocols are not a valid list, or if no subprotocol is left to choose. */
  readonly hasValidProtocols: boolean
}

/** The tokens that were in the headers of a request. */
export interface TakenHeaders {
  readonly header: readonly FoundToken[]
  readonly cookie: readonly FoundToken[]
}

/** Most requests have no token in most places: they share one empty list. */
export const NONE: readonly never[] = []
