/*
 * The function of an app that gets the token of its user from a server: it can be down, hang, be slow, or give tokens that are refused.
 */
import { sign } from '../../helpers/app'

/** A token, and its life in milliseconds from now. */
export interface Given { readonly token: string, readonly expiresIn: number }

/** No user is logged in. */
export class LoggedOut extends Error {}

/** What the next calls get. */
export type Mode = 'good' | 'expired' | 'foreign' | 'down' | 'hanging' | 'logged out'

/** No two tokens are the same. */
let count = 0

export class Tokens {
  calls = 0
  mode: Mode = 'good'
  /** How many calls get the mode; `good` follows. */
  times = Infinity
  sub = 'ann'
  roles: readonly string[] = ['member']
  /** In seconds. */
  life = 600
  /** How long a call takes, in milliseconds. */
  delay = 5
  /** How much the clock of the device is ahead of that of the server that signs, in milliseconds. */
  clockError = 0

  /** The function of the app. @throws LoggedOut, or the error of a failed request */
  async get (): Promise<Given> {
    this.calls++
    const mode = this.times-- > 0 ? this.mode : 'good'
    const { sub, delay } = this
    if (mode === 'hanging') await new Promise(() => {})
    await new Promise((resolve) => setTimeout(resolve, delay))
    if (mode === 'down') throw new Error('503')
    if (mode === 'logged out') throw new LoggedOut('401')
    const now = Math.floor((Date.now() - this.clockError) / 1000)
    const exp = now + (mode === 'expired' ? -10 : this.life)
    const token = sign({ jti: String(++count), sub, roles: this.roles, iat: now - 3 * this.life, exp }, mode === 'foreign' ? 'thirty-two bytes of other secret' : undefined)
    // A token that has expired comes from a cache, with the life that it had.
    return { token, expiresIn: mode === 'expired' ? 600_000 : exp * 1000 - (Date.now() - this.clockError) }
  }
}
