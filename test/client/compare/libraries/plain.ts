/*
 * partysocket and reconnecting-websocket, which have no server of their own: they connect to fastify-ws-auth, and their function for the
 * address puts a token into it, as their documents advise.
 */
import PartySocket from 'partysocket/ws'
import ReconnectingWebSocket from 'reconnecting-websocket'
import { WebSocket } from '../socket'
import type { Host } from '../host'
import type { Client, Library } from '../library'
import type { Tokens } from '../tokens'
import { attachFastify, takePlace } from './fastify-ws-auth'

type Socket = Pick<PartySocket, 'send' | 'close' | 'reconnect'> & { addEventListener (type: string, listener: (event: { readonly code?: number, readonly reason?: string }) => void): void }
type Class = new (url: () => Promise<string>, protocols: undefined, options: { WebSocket: unknown }) => Socket

function openWith (SocketClass: Class): Library['open'] {
  return (host: Host, tokens: Tokens): Client => {
    const told: string[] = []
    const socket = new SocketClass(async () => `ws://127.0.0.1:${host.port}/?token=${(await tokens.get()).token}`, undefined, { WebSocket })
    socket.addEventListener('open', () => { told.push('open') })
    socket.addEventListener('close', ({ code, reason }) => { told.push(`close ${code ?? ''} ${reason ?? ''}`.trim()) })
    socket.addEventListener('error', () => { told.push('error') })
    return {
      told,
      hasStopped: () => false,
      send: (text) => { socket.send(text) },
      switchUser: () => socket.reconnect(),
      close: () => socket.close()
    }
  }
}

export const partysocket: Library = { name: 'partysocket', attach: attachFastify, takePlace, open: openWith(PartySocket as unknown as Class) }
export const reconnectingWebSocket: Library = { name: 'reconnecting-websocket', attach: attachFastify, takePlace, open: openWith(ReconnectingWebSocket as unknown as Class) }
