// Compiles without the types of the DOM and of Node.js. A directive that suppresses nothing is an error too.
import { connect, webSocketClass, WsAuthClientError } from 'fastify-ws-auth-client'
import type { AuthSocket, ConnectOptions, Credential, End, State, WebSocketLike, WebSocketLikeClass } from 'fastify-ws-auth-client'

const options: ConnectOptions = {
  token: async ({ why, code, signal }): Promise<Credential> => {
    if (signal.aborted || code === 'WS_AUTH_TOKEN_REVOKED') return null
    return why === 'renew' ? { token: 'x', expiresIn: 60_000 } : 'x'
  },
  shouldReconnect: ({ reason }: End) => reason === 'mine' ? true : undefined
}
const socket: AuthSocket = connect('/chat', options)
const like: WebSocketLike = socket
export const status: State['status'] = socket.state.status
socket.addEventListener('close', ({ code }) => code.toFixed())
socket.onmessage = ({ data }) => String(data)
export async function read (): Promise<void> {
  for await (const message of socket.messages({ max: 10 })) String(message)
  if (socket.state.status === 'waiting') socket.state.delay.toFixed()
  // @ts-expect-error an open socket waits for nothing
  if (socket.state.status === 'open') socket.state.delay.toFixed()
}
// @ts-expect-error no such option
connect('/chat', { tokn: () => 'x' })
// @ts-expect-error a life is a number of milliseconds
connect('/chat', { token: () => ({ token: 'x', expiresIn: '60s' }) })
export const Class: WebSocketLikeClass = webSocketClass({ token: () => 'x', closeCodes: { unauthorized: 4401 } })
export const reason = (error: unknown): string => error instanceof WsAuthClientError && like.readyState === Class.CLOSED ? error.reason : ''
socket[Symbol.dispose]()
