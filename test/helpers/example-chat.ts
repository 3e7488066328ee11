/*
 * What a client does at the chat of example/: logs in, gets tokens and tickets, opens connections, and reads what comes.
 */
import { once } from 'node:events'
import { WebSocket } from 'ws'

export const SECRET = 'a secret of the tests, and long enough'

export const TIMEOUT = 120_000
export const PASSWORDS = { ann: 'tea-for-two', bea: 'keys-to-all' }

export interface Profile { user: { name: string, roles: string[] }, token: string }

export function post (url: string, body: string, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body })
}

export function logIn (url: string, name: string, password: string): Promise<Response> {
  return post(`${url}/login`, JSON.stringify({ name, password }))
}

export async function cookieOf (url: string, name: keyof typeof PASSWORDS): Promise<string> {
  const response = await logIn(url, name, PASSWORDS[name])
  return response.headers.getSetCookie()[0]?.split(';')[0] ?? ''
}

export function connect (url: string, cookie: string): WebSocket {
  return new WebSocket(`${url.replace('http', 'ws')}/members`, { headers: { cookie } })
}

export async function tokenOf (url: string, cookie: string, lifetime?: number): Promise<string> {
  return (await (await post(`${url}/token`, JSON.stringify({ lifetime }), { cookie })).json() as Profile).token
}

/** A connection of a user, and what the server calls it. */
export async function enterRoom (url: string, cookie: string): Promise<{ socket: WebSocket, id: string }> {
  const socket = connect(url, cookie)
  const [data] = await once(socket, 'message', { signal: AbortSignal.timeout(TIMEOUT) })
  return { socket, id: (JSON.parse(String(data)) as { connection: string }).connection }
}

export async function statusOf (url: string, path: string, cookie: string): Promise<number> {
  return (await post(url + path, '{}', { cookie })).status
}

export async function ticketOf (url: string, cookie: string): Promise<string> {
  return (await (await post(`${url}/ws-ticket`, '{}', { cookie })).json() as { ticket: string }).ticket
}

/** What a handshake is refused with, or `open`. */
export async function handshakeOf (url: string, path: string, headers: Record<string, string> = {}): Promise<string> {
  const socket = new WebSocket(url.replace('http', 'ws') + path, { headers })
  const answer = await once(socket, 'open', { signal: AbortSignal.timeout(TIMEOUT) })
    .then(() => 'open', ({ message }: Error) => message.replace('Unexpected server response: ', ''))
  socket.on('error', () => {}).terminate()
  return answer
}

export async function closeOf (socket: WebSocket): Promise<string> {
  const [code, reason] = await once(socket, 'close', { signal: AbortSignal.timeout(TIMEOUT) })
  return `${code} ${reason}`
}
