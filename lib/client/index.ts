/*
 * The client of fastify-ws-auth, for browsers and other runtimes. The files of this folder import from this folder alone. Start at
 * `connect.ts`, or at `link.ts`, which is one connection.
 */
export { connect } from './connect'
export { WsAuthClientError } from './error'
export { webSocketClass } from './web-socket-class'
export type {
  AbortSignalLike, Ask, AuthOptions, AuthSocket, AuthSocketEvents, CloseEventLike, ConnectOptions, Credential, CredentialRequest, End, ErrorEventLike, EventLike,
  FetchLike, MessageEventLike, Sendable, SocketLike, State, URLLike, WebSocketLike, WebSocketLikeClass, WsAuthErrorCode
} from './types'
