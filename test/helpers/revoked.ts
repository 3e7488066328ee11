/*
 * How a revoked connection is closed, and a revoked token is answered.
 */
import type { Test } from 'tap'
import { clientFrame, upgrade } from './raw-client'
import { eventually } from './renewal-app'
import type { Chat } from './renewal-app'

export type Claims = Record<string, unknown>
export const REVOKED = { code: 3000, reason: 'token_revoked' }

export async function closeOf ({ closed }: Chat): Promise<Chat['closed']> {
  await eventually(() => closed.code !== null, 'it is closed')
  return { ...closed }
}

export function authFrame (token: string): Buffer {
  return clientFrame(1, JSON.stringify({ type: 'auth', token }))
}

export function bearer (token: string): { headers: Record<string, string> } {
  return { headers: { authorization: `Bearer ${token}` } }
}

/** The status and the code of a handshake's answer. */
export async function answerTo (t: Test, port: number, token: string, path = '/chat'): Promise<string> {
  const { answer } = await upgrade(t, port, { path, ...bearer(token) })
  return answer.status === 101 ? '101' : `${answer.status} ${(JSON.parse(answer.body) as { code: string }).code}`
}
