/*
 * Reads the options that the plugin and a route have in common. A route's values replace the plugin's, or are merged over them.
 */
import { checkKeys, invalid, optional, readBoolean, readCount, readFunction, readInteger, readName, readObject } from '../base/checks'
import { DEFAULT_CLOSE_CODES } from '../base/errors'
import { isOrigin } from '../base/grammar'
import type { HandshakeOptions, TicketUseOptions } from './complete-options'
import type { OriginOption, RejectWith, RenewalOption } from './public-handshake-options'
import { readRouteLimits } from './read-limits'
import { readTokenSources } from './read-token-sources'

/**
 * Reads the options that are given.
 *
 * @param prefix `wsAuth.` for a route, empty for the plugin
 * @param base the values for the options that are left out
 */
export function readHandshakeOptions (given: Record<string, unknown>, prefix: string, base: HandshakeOptions): HandshakeOptions {
  const token = optional(given.token, (value) => readTokenSources(`${prefix}token`, value, base.token)) ?? base.token
  if (token.query !== null && token.query === base.tickets.query) invalid(`${prefix}token.query`, 'another name than tickets.query')
  return {
    token,
    origin: optional(given.origin, (value) => readOrigin(`${prefix}origin`, value)) ?? base.origin,
    requireTls: optional(given.requireTls, (value) => readBoolean(`${prefix}requireTls`, value)) ?? base.requireTls,
    rejectWith: optional(given.rejectWith, (value) => readRejectWith(`${prefix}rejectWith`, value)) ?? base.rejectWith,
    closeCodes: optional(given.closeCodes, (value) => readCloseCodes(`${prefix}closeCodes`, value, base.closeCodes)) ?? base.closeCodes,
    maxLifetime: readCount(`${prefix}maxLifetime`, given.maxLifetime, base.maxLifetime),
    expiryGrace: readInteger(`${prefix}expiryGrace`, given.expiryGrace, 0, Number.MAX_SAFE_INTEGER, base.expiryGrace),
    renewal: optional(given.renewal, (value) => readRenewal(`${prefix}renewal`, value)) ?? base.renewal,
    ...readVerifier(given, prefix, base),
    claims: optional(given.claims, (value) => readObject(`${prefix}claims`, value)) ?? base.claims,
    user: readFunction(`${prefix}user`, given.user) ?? base.user,
    subject: readFunction(`${prefix}subject`, given.subject) ?? base.subject,
    limits: prefix === '' || given.limits === undefined ? base.limits : readRouteLimits(`${prefix}limits`, given.limits, base.limits),
    tickets: prefix === '' ? base.tickets : readTicketUse(`${prefix}tickets`, given.tickets, base.tickets)
  }
}

function readOrigin (option: string, value: unknown): OriginOption {
  if (value === 'same-host' || value === 'any') return value
  if (typeof value === 'function') return value as OriginOption
  if (!Array.isArray(value)) invalid(option, '\'same-host\', \'any\', an array of origins, or a function')
  for (const origin of value) {
    if (typeof origin === 'string' && origin.includes('*')) invalid(option, 'a function for a pattern, (origin, request) => boolean: a list has exact origins and no wildcards')
    if (!isOrigin(origin)) {
      invalid(option, 'an array of exact origins, such as \'https://example.com\' (no path, no slash at the end, lower case)')
    }
  }
  return Object.freeze([...value])
}

/** Either option of a route replaces both of the plugin. */
function readVerifier (given: Record<string, unknown>, prefix: string, base: HandshakeOptions): Pick<HandshakeOptions, 'verify' | 'jwtNamespace'> {
  if (prefix !== '' && given.verify !== undefined && given.jwtNamespace !== undefined) invalid(`${prefix}jwtNamespace`, 'left out if "verify" is given')
  if (given.verify === undefined && given.jwtNamespace === undefined) return { verify: base.verify, jwtNamespace: base.jwtNamespace }
  return {
    verify: readFunction(`${prefix}verify`, given.verify),
    jwtNamespace: optional(given.jwtNamespace, (value) => readName(`${prefix}jwtNamespace`, value))
  }
}

function readRenewal (option: string, value: unknown): RenewalOption {
  if (value !== true && value !== false && value !== 'offered') invalid(option, 'a boolean or \'offered\'')
  return value
}

function readRejectWith (option: string, value: unknown): RejectWith {
  if (value !== 'http' && value !== 'close' && value !== 'auto') invalid(option, '\'http\', \'close\' or \'auto\'')
  return value
}

function readCloseCodes (option: string, given: unknown, base: HandshakeOptions['closeCodes']): HandshakeOptions['closeCodes'] {
  const codes = readObject(option, given)
  checkKeys(codes, `${option}.`, Object.keys(DEFAULT_CLOSE_CODES))
  for (const [kind, code] of Object.entries(codes)) {
    // 1012 and 1013 may be sent, but WebKit shows them as 1006. The other codes below 3000 belong to the protocol (RFC 6455, 7.4.2).
    const isOwn = typeof code === 'number' && Number.isInteger(code) && code >= 3000 && code <= 4999
    if (!isOwn && code !== 1008) invalid(`${option}.${kind}`, 'an integer from 3000 to 4999, or 1008')
  }
  return Object.freeze({ ...base, ...codes })
}

function readTicketUse (option: string, value: unknown, base: TicketUseOptions): TicketUseOptions {
  if (value === undefined) return base
  const tickets = readObject(option, value, '{ require }')
  checkKeys(tickets, `${option}.`, ['require'])
  if (base.query === null) invalid(option, 'left out, because the plugin\'s "tickets" option is off')
  return { ...base, require: optional(tickets.require, (required) => readBoolean(`${option}.require`, required)) ?? base.require }
}
