/*
 * Reads the `wsAuth` option of a route.
 */
import { checkKeys, invalid, isObject, optional, readBoolean, readFunction, readStrings } from '../base/checks'
import { SCOPE_TOKEN } from '../base/grammar'
import type { CompleteRouteOptions, HandshakeOptions } from './complete-options'
import { readHandshakeOptions } from './read-handshake-options'

const KEYS = ['roles', 'scopes', 'authorize', 'optional', 'token', 'origin', 'rejectWith', 'closeCodes', 'maxLifetime', 'expiryGrace', 'renewal',
  'verify', 'jwtNamespace', 'claims', 'user', 'subject', 'limits', 'tickets', 'requireTls']
/** Options that are not of one route, and where they belong. */
const ELSEWHERE: ReadonlyMap<string, string> = new Map([
  ...['messages', 'bytes', 'idle'].map((name) => [name, `wsAuth.limits.${name}`] as const),
  ...['header', 'subprotocol', 'query', 'cookie', 'param', 'message'].map((name) => [name, `wsAuth.token.${name}`] as const),
  ...['heartbeat', 'drain', 'recheck', 'groups', 'confirm', 'tokenCache', 'handshakeTimeout', 'maxTokenBytes', 'backplane', 'websocket']
    .map((name) => [name, `the options of the plugin, as "${name}"`] as const)
])

/**
 * Checks a route's `wsAuth` and completes it with the plugin's options.
 *
 * @throws TypeError `"wsAuth.<option>" option must be <what>`
 */
export function readRouteOptions (given: unknown, plugin: HandshakeOptions): CompleteRouteOptions {
  if (given === undefined || given === true) return readPolicy({}, plugin)
  if (given === false) return { ...readPolicy({}, plugin), access: 'public' }
  if (given === 'optional') return readPolicy({ optional: true }, plugin)
  if (!isObject(given)) invalid('wsAuth', 'a boolean, \'optional\' or an object')
  checkKeys(given, 'wsAuth.', KEYS, ELSEWHERE)
  return readPolicy(given, plugin)
}

function readPolicy (given: Record<string, unknown>, plugin: HandshakeOptions): CompleteRouteOptions {
  return {
    ...readHandshakeOptions(given, 'wsAuth.', plugin),
    access: given.optional !== undefined && readBoolean('wsAuth.optional', given.optional) ? 'optional' : 'required',
    roles: optional(given.roles, (value) => readStrings('wsAuth.roles', value, /^[^]+$/, 'strings')) ?? null,
    scopes: optional(given.scopes, (value) => readStrings('wsAuth.scopes', value, SCOPE_TOKEN, 'scope tokens (RFC 6749, 3.3)')) ?? null,
    authorize: readFunction('wsAuth.authorize', given.authorize)
  }
}
