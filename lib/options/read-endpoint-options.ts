/*
 * Reads the options of the HTTP routes that the plugin adds: tickets, back-channel logout and security events.
 */
import { checkKeys, invalid, optional, readBoolean, readDelay, readFunction, readName, readObject } from '../base/checks'
import type { CompleteOptions, TicketIssueOptions } from './complete-options'
import type { SignalsOptions } from './public-signals-options'

const NO_TICKETS: TicketIssueOptions = { path: null, query: null, ttl: 0, require: false }
const DEFAULT_TICKETS = { path: '/ws-ticket', query: 'ticket', ttl: 30_000, require: false }

export function readTickets (value: unknown): TicketIssueOptions {
  if (value === undefined || value === false) return NO_TICKETS
  if (value === true) return DEFAULT_TICKETS
  const tickets = readObject('tickets', value, 'a boolean, or { path, query, ttl, require }')
  checkKeys(tickets, 'tickets.', ['path', 'query', 'ttl', 'require'])
  return {
    path: tickets.path === false ? null : optional(tickets.path, (path) => readPath('tickets.path', path)) ?? DEFAULT_TICKETS.path,
    query: optional(tickets.query, (name) => readName('tickets.query', name)) ?? DEFAULT_TICKETS.query,
    ttl: readDelay('tickets.ttl', tickets.ttl, DEFAULT_TICKETS.ttl),
    require: optional(tickets.require, (required) => readBoolean('tickets.require', required)) ?? DEFAULT_TICKETS.require
  }
}

export function readBackChannelLogout (value: unknown): CompleteOptions['backChannelLogout'] {
  if (value === undefined || value === false) return null
  const logout = readObject('backChannelLogout', value, 'false or { path, issuer, audience, match }')
  checkKeys(logout, 'backChannelLogout.', ['path', 'issuer', 'audience', 'match'])
  const { match = 'sid' } = logout
  if (match !== 'sid' && match !== 'sub') invalid('backChannelLogout.match', '\'sid\' or \'sub\'')
  const audience = optional(logout.audience, (name) => readName('backChannelLogout.audience', name))
  return {
    path: readPath('backChannelLogout.path', logout.path),
    issuer: readName('backChannelLogout.issuer', logout.issuer),
    ...(audience === undefined ? {} : { audience }),
    match
  }
}

export function readSignals (value: unknown): CompleteOptions['signals'] {
  if (value === undefined || value === false) return null
  const signals = readObject('signals', value, 'false or { path, issuer, audience, subject }')
  checkKeys(signals, 'signals.', ['path', 'issuer', 'audience', 'subject'])
  const subject = readFunction<NonNullable<SignalsOptions['subject']>>('signals.subject', signals.subject)
  return {
    path: readPath('signals.path', signals.path),
    issuer: readName('signals.issuer', signals.issuer),
    audience: readName('signals.audience', signals.audience),
    ...(subject === undefined ? {} : { subject })
  }
}

function readPath (option: string, value: unknown): string {
  if (typeof value !== 'string' || !value.startsWith('/')) invalid(option, 'a path that begins with a slash')
  return value
}
