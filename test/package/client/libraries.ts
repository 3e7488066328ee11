// Compiles with the types of the DOM: the class takes the place of a WebSocket in libraries.
import { createTRPCClient, createWSClient, wsLink } from '@trpc/client'
import { createClient } from 'graphql-ws'
import { WebsocketProvider } from 'y-websocket'
import { Doc } from 'yjs'
import { connect, webSocketClass } from 'fastify-ws-auth-client'

const Class = webSocketClass({ token: () => 'x' })
export const graphql = createClient({ url: 'ws://localhost/graphql', webSocketImpl: Class })
export const trpc = createTRPCClient({ links: [wsLink({ client: createWSClient({ url: 'ws://localhost/trpc', WebSocket: Class }) })] })
export const yjs = new WebsocketProvider('ws://localhost', 'room', new Doc(), { WebSocketPolyfill: Class })
export const native: WebSocket = new Class('ws://localhost')
export const socket: WebSocket = connect('ws://localhost', { signal: new AbortController().signal, create: (url, protocols) => new WebSocket(url, protocols) })
