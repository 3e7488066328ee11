/*
 * One room: its sockets, and what was said there last.
 */
import type { WebSocket } from '@fastify/websocket'
import type { FastifyRequest } from 'fastify'
import type { Connection } from 'fastify-ws-auth'
import { createLimit } from './rate'

const MAX_TEXT = 500
const MAX_HISTORY = 50
const MAX_BUFFERED = 1024 * 1024

export class Room {
  readonly #sockets = new Map<WebSocket, string>()
  readonly #history: object[] = []
  readonly #maySay = createLimit(10, 5000)

  /** The handler of the room's route. The user is authenticated and has the role by now. */
  // Only `sub` of the user is used, because no renewal changes it. Roles would have to be read from the request each time.
  readonly enter = (socket: WebSocket, { user, wsAuth }: FastifyRequest): void => {
    socket.on('message', (data, isBinary) => {
      if (!this.#maySay(user.sub)) return socket.close(1008, 'too_many_messages')
      const text = isBinary ? null : readText(String(data))
      if (text !== null) this.#say(user.sub, text)
      else send(socket, JSON.stringify({ type: 'error', message: `Expected {"type":"say","text":"1 to ${MAX_TEXT} characters"}` }))
    })
    socket.on('close', () => {
      this.#sockets.delete(socket)
      this.#sendOnline()
    })
    this.#sockets.set(socket, user.sub)
    send(socket, JSON.stringify({ type: 'welcome', connection: wsAuth && viewOf(wsAuth), history: this.#history }))
    this.#sendOnline()
  }

  /** Sends a frame to all sockets of the room. */
  tell (frame: object): void {
    const text = JSON.stringify(frame)
    for (const socket of this.#sockets.keys()) send(socket, text)
  }

  #say (name: string, text: string): void {
    const said = { type: 'said', name, text, at: Date.now() }
    this.#history.push(said)
    if (this.#history.length > MAX_HISTORY) this.#history.shift()
    this.tell(said)
  }

  #sendOnline (): void {
    this.tell({ type: 'online', names: [...new Set(this.#sockets.values())].sort() })
  }
}

/** The text of a frame, or `null` if it is no frame of the chat. */
function readText (data: string): string | null {
  try {
    const { type, text } = Object(JSON.parse(data)) as { type?: unknown, text?: unknown }
    if (type !== 'say' || typeof text !== 'string' || text.length > MAX_TEXT) return null
    return text.trim() || null
  } catch {
    return null
  }
}

/** Drops a client that does not read, because the server would have to keep what it sends. */
function send (socket: WebSocket, text: string): void {
  if (socket.bufferedAmount > MAX_BUFFERED) socket.terminate()
  else socket.send(text)
}

/** What a page may know of a connection: not its claims. */
export function viewOf ({ id, user, source, openedAt, expiresAt }: Connection): object {
  return { id, name: user?.sub, roles: user?.roles, source, openedAt, expiresAt }
}
