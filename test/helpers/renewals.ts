/*
 * Tokens of a connection that is renewed, and the two ways to renew it.
 */
import fastifyWsAuth from '../../lib/index'
import type { Chat } from './renewal-app'

export type Claims = Record<string, unknown>
export const NOW = Math.floor(Date.now() / 1000)
export const PRESENT = { sub: 'ann', iss: 'here', iat: NOW - 10, exp: NOW + 600, roles: ['member'], scope: 'chat' }
export const NEWER = { ...PRESENT, iat: NOW - 5, exp: NOW + 900, n: 1 }

/** What a renewal may change. */
export function stateOf ({ connection, request }: Chat, decorator = 'user'): object {
  const { id, user, claims, source, sub, openedAt, expiresAt } = connection
  return { id, user, claims, source, sub, openedAt, expiresAt, requestUser: request.user, decorated: (request as unknown as Claims)[decorator] }
}

/** Renews by either way, and answers with the code of the refusal or with `null`. */
export const WAYS: Record<string, (chat: Chat, token: string) => Promise<string | null>> = {
  'request.wsAuth.renew': async (chat, token) => {
    try {
      const user = await chat.connection.renew(token)
      return user === chat.connection.user ? null : 'another user was answered'
    } catch (error) {
      return error instanceof fastifyWsAuth.WsAuthError ? error.code : String(error)
    }
  },
  'an auth frame': async (chat, token) => {
    const answer = await chat.renewByFrame(token)
    const { type, code, reason, ...rest } = answer
    const { expiresAt } = chat.connection
    if (type === 'auth.error' && Object.keys(rest).length === 0 && (reason === undefined || reason === 'other_subject')) return code as string
    const isOk = type === 'auth.ok' && answer.connection === chat.connection.id && answer.expiresAt === expiresAt
    return isOk && (answer.expiresIn === null) === (expiresAt === null) ? null : JSON.stringify(answer)
  }
}

export function userOf (claims: Claims): object | null {
  if (claims.user === 'throw') throw new Error('thrown by a test')
  return claims.user === 'none' ? null : { ...claims, isUser: true }
}

/** Seconds from the start of the test, by the moved clock. */
export function from (now: number): (seconds: number) => number {
  return (offset) => Math.floor(now / 1000) + offset
}

/** Nothing is closed for as long as it takes a message to come and go. */
export async function isOpen (chat: Chat): Promise<boolean> {
  return await chat.isHeard() && chat.connection === chat.request.wsAuth
}
