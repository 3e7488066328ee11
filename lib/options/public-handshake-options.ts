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

/** Makes the user; see the option `user` of the plugin. */
export type UserOption = (claims: Claims, request: FastifyRequest) => Answer<FastifyRequest['user'] | null | undefined>

/** An answer, now or later. */
export type Answer<T> = T | PromiseLike<T>
