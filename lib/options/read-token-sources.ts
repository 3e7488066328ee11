/*
 * Reads the `token` option of the plugin and of a route: in which places of a handshake a token may be.
 */
import { checkKeys, invalid, isObject, optional, readBoolean, readDelay, readFunction, readInteger, readObject } from '../base/checks'
import { HTTP_TOKEN } from '../base/grammar'
import { BEARER_HEADER } from './complete-options'
import type { MessageSource, TokenSources } from './complete-options'

export const DEFAULT_TOKEN_SOURCES: TokenSources = {
  header: BEARER_HEADER,
  subprotocol: 'bearer',
  query: 'token',
  cookie: undefined,
  param: null,
  message: null
}

const DEFAULT_MESSAGE: MessageSource = { timeout: 10_000, maxBytes: 8192, read: null, deliver: false }

/** @param base the places that are left out */
export function readTokenSources (option: string, given: unknown, base: TokenSources): TokenSources {
  const token = readObject(option, given)
  checkKeys(token, `${option}.`, ['header', 'subprotocol', 'query', 'cookie', 'param', 'message'])
  const name = (key: string, fallback: string | null, byDefault: string, pattern: RegExp, what: string): string | null =>
    token[key] === undefined ? fallback : readSourceName(`${option}.${key}`, token[key], byDefault, pattern, what)
  const header = name('header', null, '', HTTP_TOKEN, 'the name of a header')
  return {
    header: token.header === undefined ? base.header : readHeader(header),
    subprotocol: name('subprotocol', base.subprotocol, 'bearer', HTTP_TOKEN, 'the name of a subprotocol'),
    query: name('query', base.query, 'token', /^[^]+$/, 'a string'),
    cookie: token.cookie === undefined ? base.cookie : readCookie(`${option}.cookie`, token.cookie),
    param: name('param', base.param, 'token', /^\w+$/, 'the name of a route parameter'),
    message: token.message === undefined ? base.message : readMessage(`${option}.message`, token.message)
  }
}

function readSourceName (option: string, value: unknown, byDefault: string, pattern: RegExp, what: string): string | null {
  if (value === false) return null
  if (value === true) return byDefault
  if (typeof value !== 'string' || !pattern.test(value)) invalid(option, `a boolean or ${what}`)
  return value
}

/** @param name empty for the default header */
function readHeader (name: string | null): TokenSources['header'] {
  if (name === null) return null
  return name === '' ? BEARER_HEADER : { name: name.toLowerCase(), bearer: false }
}

function readCookie (option: string, value: unknown): TokenSources['cookie'] {
  const what = 'a boolean, the name of a cookie, or { name, signed }'
  if (!isObject(value)) {
    const name = readSourceName(option, value, 'token', HTTP_TOKEN, 'the name of a cookie, or { name, signed }')
    return name === null ? null : { name, signed: false }
  }
  checkKeys(value, `${option}.`, ['name', 'signed'])
  if (typeof value.name !== 'string' || !HTTP_TOKEN.test(value.name)) invalid(option, what)
  if (value.signed !== undefined && typeof value.signed !== 'boolean') invalid(`${option}.signed`, 'a boolean')
  return { name: value.name, signed: value.signed ?? false }
}

function readMessage (option: string, value: unknown): TokenSources['message'] {
  if (value === false) return null
  if (value === true) return DEFAULT_MESSAGE
  const message = readObject(option, value, 'a boolean, or { timeout, maxBytes, read, deliver }')
  checkKeys(message, `${option}.`, ['timeout', 'maxBytes', 'read', 'deliver'])
  const read = readFunction<NonNullable<MessageSource['read']>>(`${option}.read`, message.read) ?? null
  const deliver = optional(message.deliver, (value) => readBoolean(`${option}.deliver`, value)) ?? false
  // The auth frame of this package has a token, and is not a message of the app.
  if (deliver && read === null) invalid(`${option}.deliver`, 'left out without "read": an auth frame is never delivered')
  return {
    timeout: readDelay(`${option}.timeout`, message.timeout, DEFAULT_MESSAGE.timeout),
    maxBytes: readInteger(`${option}.maxBytes`, message.maxBytes, 1, 2 ** 30, DEFAULT_MESSAGE.maxBytes),
    read,
    deliver
  }
}
