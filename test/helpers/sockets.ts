/*
 * Sockets of `injectWS` and answers of dry runs, for tests of one decision: no network, no port.
 */
import type { FastifyInstance } from 'fastify'
import type { WebSocket } from 'ws'

/** A socket whose messages and whose close frame are remembered from the beginning. */
export interface Settled {
  readonly socket: WebSocket
  readonly messages: string[]
  readonly closed: Promise<{ code: number, reason: string }>
}

/** Opens a socket with a token in the header. Rejects with the status of a refusal. */
export async function openSocket (app: FastifyInstance, url: string, token: string | null, headers: Record<string, string> = {}): Promise<Settled> {
  const messages: string[] = []
  let closed: Settled['closed'] | undefined
  const socket = await app.injectWS(url, { headers: { ...(token === null ? {} : { authorization: `Bearer ${token}` }), ...headers } }, {
    onInit: (socket) => {
      socket.on('message', (data) => messages.push(String(data)))
      closed = new Promise((resolve) => socket.on('close', (code, reason) => resolve({ code, reason: String(reason) })))
    }
  })
  return { socket, messages, closed: closed as Settled['closed'] }
}

export async function closeOf ({ closed }: Settled): Promise<{ code: number, reason: string }> {
  return await closed
}

/** The status of a dry run: 426 if the handshake would be accepted. */
export async function statusOf (app: FastifyInstance, url: string, token: string | null, headers: Record<string, string> = {}): Promise<number> {
  return (await app.inject({ url, headers: { ...(token === null ? {} : { authorization: `Bearer ${token}` }), ...headers } })).statusCode
}
