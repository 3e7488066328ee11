/*
 * The schema of a websocket route, as far as it is about the places of tokens.
 */
import type { CompleteRouteOptions } from '../options/complete-options'

/** The parts of the `schema` option of a route that may require a place of a token. */
interface RouteSchema {
  readonly headers?: unknown
  readonly querystring?: unknown
  readonly query?: unknown
}

/**
 * Refuses a schema that requires the place of a token: the token is taken out of the request before, so each handshake would be 400.
 *
 * @param where the method and the path of the route, for the message
 * @throws TypeError
 */
export function assertSchema (schema: unknown, { access, token, tickets }: CompleteRouteOptions, where: string): void {
  if (access === 'public' || typeof schema !== 'object' || schema === null) return
  const { headers, querystring, query } = schema as RouteSchema
  const header = token.header === null ? null : token.header.bearer ? 'authorization' : token.header.name
  assertNotRequired(headers, 'headers', [header], where)
  for (const part of [querystring, query]) assertNotRequired(part, 'querystring', [token.query, tickets.query], where)
}

function assertNotRequired (part: unknown, name: string, places: ReadonlyArray<string | null>, where: string): void {
  const { required } = (part ?? {}) as { required?: unknown }
  if (!Array.isArray(required)) return
  const isPlace = (one: unknown): boolean => typeof one === 'string' && places.includes(name === 'headers' ? one.toLowerCase() : one)
  const place: unknown = required.find(isPlace)
  if (place === undefined) return
  throw new TypeError(`"schema.${name}" option must not require "${String(place)}" in ${where}: the token is taken out of the request before the schema is asked`)
}
