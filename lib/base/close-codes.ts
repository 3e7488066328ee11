/*
 * Close frames (RFC 6455, 5.5.1 and 7.4): the codes that may be sent, the codes of refusals, and the reasons of an end.
 */
import { wsAuthErrors } from './errors'
import type { CloseKind, WsAuthErrorCode } from './errors'

/** RFC 6455, 5.5: the longest reason in a close frame, in bytes. */
export const MAX_REASON_BYTES = 123

/** How many milliseconds a client may take to answer a close frame. The `closeTimeout` of ws must not be longer. */
export const CLOSE_TIMEOUT = 5000

/** RFC 6455, 7.4.1: the server shuts down. */
export const GOING_AWAY = 1001

/** Each {@link CloseReason}. */
export const CLOSE_REASONS = ['token_expired', 'token_revoked', 'forbidden', 'lifetime_exceeded', 'disconnected', 'connection_replaced', 'connection_limit', 'auth_unavailable',
  'message_limit', 'idle', 'shutdown', 'drain', 'heartbeat', 'internal_error', 'app', 'client', 'error', 'lost'] as const

/**
 * Why a connection ended. `'internal_error'`: its handler threw. `'app'`: the app closed it. `'client'`: the client sent a close frame.
 * `'error'`: the client sent invalid frames. `'lost'`: the connection broke without a close frame. The others are decisions of this package.
 */
export type CloseReason = typeof CLOSE_REASONS[number]

/** The command that ended a connection, for its event. */
export interface CloseOrder {
  /** What the command was about, such as `{ sub: 'ann' }`. */
  readonly match: Readonly<Record<string, string | true>>
  readonly by: string | null
  readonly why: string | null
}

/** That a connection ends, and how. */
export interface CloseDecision {
  readonly reason: CloseReason
  /** A close code, or a kind, whose code the route may have changed. */
  readonly code: CloseKind | number
  /** The text of the close frame. Default: the reason. */
  readonly text?: string
  /** The command that ends it. */
  readonly order?: CloseOrder
  /** A frame of this package that is sent before the close frame to clients that speak them. */
  readonly farewell?: string
}

/** The content of a close frame (RFC 6455, 5.5.1). */
export interface CloseFrame {
  readonly code: number
  readonly reason: string
}

/** The close frame of a refusal; `null` if only an HTTP status can answer. */
export function closeFrameOf (code: WsAuthErrorCode, closeCodes: Readonly<Record<CloseKind, number>>): CloseFrame | null {
  const { close } = wsAuthErrors[code]
  return close === null ? null : { code: closeCodes[close.kind], reason: close.reason }
}

/** Whether a code may be sent (RFC 6455, 7.4). 1004, 1005 and 1006 are reserved. */
export function isSendableCode (code: unknown): code is number {
  if (typeof code !== 'number' || !Number.isInteger(code)) return false
  return (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) || (code >= 3000 && code <= 4999)
}

/** Whether a value is a text that fits into a close frame. */
export function isReason (reason: unknown): reason is string {
  return typeof reason === 'string' && Buffer.byteLength(reason) <= MAX_REASON_BYTES
}
