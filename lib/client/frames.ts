/*
 * The messages of the server to the client itself. All other messages are the app's.
 */

/** The frame of a server. Durations are in milliseconds; `null` says never. */
export interface AuthFrame {
  readonly type: 'auth.ok' | 'auth.renew' | 'auth.error' | 'auth.retry' | 'auth.pong'
  readonly id?: number
  readonly connection?: string
  readonly expiresIn?: number | null
  readonly code?: string
  readonly reason?: string
  readonly within?: number
}

/** Reads a message as a frame. Returns nothing if it is the app's. */
export function readFrame (data: unknown): AuthFrame | undefined {
  try {
    if (typeof data === 'string' && data.startsWith('{"type":"auth.')) return JSON.parse(data) as AuthFrame
  } catch {}
}
