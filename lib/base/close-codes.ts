/*
 * Close frames (RFC 6455, 5.5.1 and 7.4): which codes may be sent, which stand for a refusal, and why a connection ended.
 */
import { wsAuthErrors } from './errors'
import type { CloseKind, WsAuthErrorCode } from './errors'

/** RFC 6455, 5.5: what a close frame has room for beside its code, in bytes. */
export const MAX_REASON_BYTES = 123

/** How long the other side of a closing connection may take, in milliseconds: what `closeTimeout` of ws may not exceed. */
export const CLOSE_TIMEOUT = 5000

/** RFC 6455, 7.4.1: the server goes down. */
export const GOING_AWAY = 1001

/**
 * Why a connection ended: by a decision of this package, because its handler threw, by the app, by a close frame of the other side, because of what
 * it sent instead of frames, or without a word.
 */
export type CloseReason = 'token_expired' | 'token_revoked' | 'lifetime_exceeded' | 'disconnected' | 'connection_replaced' |
  'auth_unavailable' | 'shutdown' | 'heartbeat' | 'internal_error' | 'app' | 'client' | 'error' | 'lost'

/** What closes a connection (RFC 6455, 5.5.1). */
export interface CloseFrame {
  readonly code: number
  readonly reason: string
}

/** The close code and reason that stand for a refusal; `null` where only a status can. */
export function closeFrameOf (code: WsAuthErrorCode, closeCodes: Readonly<Record<CloseKind, number>>): CloseFrame | null {
  const { close } = wsAuthErrors[code]
  return close === null ? null : { code: closeCodes[close.kind], reason: close.reason }
}

/** RFC 6455, 7.4: neither a code that stands for the lack of one, nor one that nobody may use. */
export function isSendableCode (code: unknown): code is number {
  if (typeof code !== 'number' || !Number.isInteger(code)) return false
  return (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) || (code >= 3000 && code <= 4999)
}

/** Whether it is a text that a close frame has room for. */
export function isReason (reason: unknown): reason is string {
  return typeof reason === 'string' && Buffer.byteLength(reason) <= MAX_REASON_BYTES
}
