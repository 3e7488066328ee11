/*
 * The types of the options that the plugin and a route have in common.
 */
import type { FastifyRequest } from 'fastify'
import type { Claims } from '../token/claims'

/** Where the plugin looks for a token. For each place: a name, `true` for the default name, or `false` for off. */
export interface TokenOptions {
  /**
   * The header. `true` reads the token from `Authorization: Bearer <token>` (RFC 6750, 2.1); a name reads the whole value of that
   * header. Default `true`.
   */
  header?: boolean | string
  /** The marker in front of the token in `Sec-WebSocket-Protocol: <marker>, <token>`. Default `'bearer'`. */
  subprotocol?: boolean | string
  /** The query parameter. Default `'token'`. */
  query?: boolean | string
  /**
   * The cookie. `signed` says whether @fastify/cookie signed it (default `false`). Default: the cookie of @fastify/jwt if that has
   * one, else `'token'`.
   */
  cookie?: boolean | string | { name: string, signed?: boolean }
  /** The route parameter. It must be a whole segment of the path, such as `/:token`. `true` is `'token'`. Default `false`. */
  param?: boolean | string
  /**
   * The first message of a connection, `{"type":"auth","token":"..."}`, if the handshake carries no token. The message must arrive
   * within `timeout` milliseconds after the socket opens (else 408) and have at most `maxBytes` bytes. `true` is
   * `{ timeout: 10000, maxBytes: 8192 }`. Default `false`.
   *
   * `read` finds the token in a message of the client's own protocol, in place of an auth frame; `readers` has two. With it the
   * plugin answers nothing. `deliver` hands that message on to the handler once it has authenticated. Default `false`.
   */
  message?: boolean | MessageOptions
}

/** How the first message of a connection is read; see {@link TokenOptions.message}. */
export interface MessageOptions {
  timeout?: number
  maxBytes?: number
  read?: ReadMessage
  deliver?: boolean
}

/**
 * Finds the token in the first message of a connection. `null`, a result that is not a string, and a thrown error refuse the
 * connection. `message` is the text of a text message, and empty for a binary one; `data` has the bytes of either.
 */
export type ReadMessage = (message: string, data: Buffer) => string | null

/** Which origins may connect; see the option `origin` of the plugin. */
export type OriginOption = 'same-host' | 'any' | readonly string[] |
  ((origin: string, request: FastifyRequest) => boolean | Promise<boolean>)

/** How a handshake is refused; see the option `rejectWith` of the plugin. */
export type RejectWith = 'http' | 'close' | 'auto'

/** Reads the subject of a token; see the option `subject` of the plugin. */
export type SubjectOption = (claims: Claims) => string | undefined

/** With which clients the plugin speaks in messages; see the option `renewal` of the plugin. */
export type RenewalOption = boolean | 'offered'

/** A limit on what clients send; see {@link RouteLimitsOptions}. */
export interface RateLimitOptions {
  /** How many are sent in a second for ever: an integer. */
  perSecond: number
  /** How many may be sent at once, after a silence: an integer. Default: `perSecond`. */
  burst?: number
  /** Whether all connections of a subject share the limit. Default `false`: each connection has its own. */
  perUser?: boolean
  /**
   * What happens past it. `'close'` closes the connection with `message_limit`. `'pause'` reads no further until there is room, so that
   * the client has to wait. Default `'close'`.
   */
  onLimit?: 'close' | 'pause'
}

/** The limits that a route can override. */
export interface RouteLimitsOptions {
  /**
   * The frames of a client: text, binary, pings, pongs, and each fragment of a message. They are counted before any listener is called.
   * Default `false`.
   */
  messages?: false | RateLimitOptions
  /** The bytes of these frames as they are sent: compressed, and with the header of each (RFC 6455, 5.2). Default `false`. */
  bytes?: false | RateLimitOptions
  /**
   * After how many milliseconds without a message of the client its connection is closed with 1001 `idle`. Pings, pongs and auth frames
   * are no messages. Default `Infinity`.
   */
  idle?: number
}

/** Makes the user; see the option `user` of the plugin. */
export type UserOption = (claims: Claims, request: FastifyRequest) => Answer<FastifyRequest['user'] | null | undefined>

/** An answer, now or later. */
export type Answer<T> = T | PromiseLike<T>
