/*
 * base/ has what all other folders need: errors, close codes, grammars, validators. It imports no other folder. Start here: each refusal
 * is a row of the table below. The client gets the row and nothing else; the reason goes to the log.
 */
import createError from '@fastify/error'

/** The names of the close codes that the `closeCodes` option can change. */
export type CloseKind = 'unauthorized' | 'forbidden' | 'timeout' | 'limit' | 'unavailable'

/** The close code of each kind of refusal. 3000, 3003 and 3008 are registered with IANA; 4429 and 4503 are private codes. */
export const DEFAULT_CLOSE_CODES: Readonly<Record<CloseKind, number>> = Object.freeze({
  unauthorized: 3000,
  forbidden: 3003,
  timeout: 3008,
  limit: 4429,
  unavailable: 4503
})

/** One row of {@link wsAuthErrors}. */
export interface WsAuthErrorRow {
  /** The HTTP status of the refusal before the upgrade. */
  readonly statusCode: number
  /** The message of the error and of the response's body. */
  readonly message: string
  /**
   * The close frame, if the handshake is accepted and then closed (`rejectWith: 'close'`); `null` if only an HTTP status can answer.
   * `code` is the default of `closeCodes[kind]`.
   */
  readonly close: { readonly kind: CloseKind, readonly code: number, readonly reason: string } | null
}

function row (statusCode: number, message: string, kind: CloseKind | null = null, reason = ''): WsAuthErrorRow {
  const close = kind === null ? null : Object.freeze({ kind, code: DEFAULT_CLOSE_CODES[kind], reason })
  return Object.freeze({ statusCode, message, close })
}

/** Each code of a {@link WsAuthError}, with its HTTP status, its message, and its close frame. */
export const wsAuthErrors = Object.freeze({
  WS_AUTH_TOKEN_MISSING: row(401, 'No token was found in the handshake', 'unauthorized', 'token_missing'),
  WS_AUTH_TOKEN_INVALID: row(401, 'The token is invalid', 'unauthorized', 'token_invalid'),
  WS_AUTH_TOKEN_EXPIRED: row(401, 'The token has expired', 'unauthorized', 'token_expired'),
  WS_AUTH_TOKEN_REVOKED: row(401, 'The token was revoked', 'unauthorized', 'token_revoked'),
  WS_AUTH_TOKEN_AMBIGUOUS: row(400, 'The handshake carries more than one token', 'unauthorized', 'token_ambiguous'),
  WS_AUTH_TICKET_INVALID: row(401, 'The ticket is invalid', 'unauthorized', 'ticket_invalid'),
  WS_AUTH_FORBIDDEN: row(403, 'The user may not connect here', 'forbidden', 'forbidden'),
  WS_AUTH_ORIGIN_FORBIDDEN: row(403, 'The origin may not connect here', 'forbidden', 'origin_forbidden'),
  WS_AUTH_TIMEOUT: row(408, 'No token came in time', 'timeout', 'auth_timeout'),
  WS_AUTH_LIMIT: row(429, 'Too many connections', 'limit', 'connection_limit'),
  WS_AUTH_BUSY: row(503, 'The server is busy', 'unavailable', 'server_busy'),
  WS_AUTH_UNAVAILABLE: row(503, 'Authentication is unavailable', 'unavailable', 'auth_unavailable'),
  WS_AUTH_HANDSHAKE_INVALID: row(400, 'Not a valid WebSocket opening handshake'),
  WS_AUTH_ROUTE_NOT_WEBSOCKET: row(404, 'This route does not speak WebSocket'),
  WS_AUTH_ROUTE_UNPROTECTED: row(500, 'This route is not protected by fastify-ws-auth')
})

/** False with `node --frozen-intrinsics`. Then each error has a stack. */
const canLimitStacks = Object.getOwnPropertyDescriptor(Error, 'stackTraceLimit')?.writable === true

/** Sets how many lines the stack of a new error has. @returns the limit before */
export function setStackTraceLimit (lines: number): number {
  const before = Error.stackTraceLimit
  if (canLimitStacks) Error.stackTraceLimit = lines
  return before
}

/** A code of the table {@link wsAuthErrors}. */
export type WsAuthErrorCode = keyof typeof wsAuthErrors

/** Frameworks above Fastify (NestJS) believe the status of an error only if @fastify/error made it. */
const FastifyError = createError<[]>('WS_AUTH', 'The handshake was refused', 500)

/**
 * The refusal of a handshake. Fastify's error handler gets it with `statusCode`. The `verify` option may throw one to choose the refusal.
 *
 * @throws TypeError for a code that is not in the table
 */
export class WsAuthError extends FastifyError {
  /** One of the codes of {@link wsAuthErrors}. */
  override readonly code: WsAuthErrorCode
  /** The HTTP status of the refusal. */
  override readonly statusCode: number

  /** That of @fastify/error compares codes, and would take any error with our code for one of these. */
  static override [Symbol.hasInstance] (value: unknown): boolean {
    return Function.prototype[Symbol.hasInstance].call(this, value)
  }

  constructor (code: WsAuthErrorCode, options?: { cause?: unknown }) {
    if (!Object.hasOwn(wsAuthErrors, code)) {
      throw new TypeError(`"code" must be one of ${Object.keys(wsAuthErrors).join(', ')}`)
    }
    // A refusal is an answer to the client and not a fault in the code, so it has no stack. A stack would cost 4 us.
    const before = setStackTraceLimit(0)
    super()
    this.code = code
    this.statusCode = wsAuthErrors[code].statusCode
    this.message = wsAuthErrors[code].message
    if (options !== undefined && 'cause' in options) Object.defineProperty(this, 'cause', { value: options.cause, writable: true, configurable: true })
    Error.captureStackTrace(this, WsAuthError)
    setStackTraceLimit(before)
  }

  /** That of {@link statusCode}, as http-errors has it: NestJS believes a status of 5xx only beside `expose`. */
  get status (): number {
    return this.statusCode
  }

  /** The message may be sent to the client: it is a constant of the table. */
  get expose (): boolean {
    return true
  }

  /** The close code (before the `closeCodes` option) and the reason of this refusal; `null` if only a status can answer. */
  get close (): { code: number, reason: string } | null {
    const { close } = wsAuthErrors[this.code]
    return close && { code: close.code, reason: close.reason }
  }
}
