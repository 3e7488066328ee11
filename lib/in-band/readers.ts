/*
 * Readers of first messages for protocols of other libraries; see the option `token.message.read`.
 */
import type { ReadMessage } from '../options/public-handshake-options'

/** RFC 6750, 2.1: the scheme, which has no case, and the token. */
const BEARER = /^bearer[ \t]+/i

/**
 * Finds the token in the `connection_init` of graphql-ws, which mercurius speaks too: `token` in the payload, or `authorization` in any
 * case, with or without `Bearer`.
 */
const graphqlWs: ReadMessage = (message) => {
  const { type, payload } = objectOf(JSON.parse(message))
  return type === 'connection_init' ? tokenIn(payload) : null
}

/** Finds the token in the `connectionParams` of tRPC, in the same way. */
const trpc: ReadMessage = (message) => {
  const { method, data } = objectOf(JSON.parse(message))
  return method === 'connectionParams' ? tokenIn(data) : null
}

/** Readers of the first message, for the option `token.message.read`. */
export const readers = Object.freeze({ graphqlWs, trpc })

/** The properties of a client's message are read in one case, so that `Authorization` is found too. */
function tokenIn (params: unknown): string | null {
  const read = objectOf(params)
  if (typeof read.token === 'string') return read.token
  const names = Object.keys(read).filter((name) => name.toLowerCase() === 'authorization')
  const value = names.length === 1 ? read[names[0] as string] : undefined
  return typeof value === 'string' ? value.replace(BEARER, '') : null
}

function objectOf (value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? value as Record<string, unknown> : {}
}
