/*
 * The options of both clients, checked and complete.
 */
import { runtime } from './runtime'
import type { AuthOptions, FetchLike, SocketLike } from './types'
import { Wallet } from './wallet'

/** Complete options, and the token that all connections of a client share. */
export interface Settings extends Pick<AuthOptions, 'via' | 'ticket'> {
  readonly wallet: Wallet
  readonly protocols: readonly string[]
  readonly create: (url: string, protocols: string[], headers: Record<string, string>) => SocketLike
  readonly fetch: FetchLike | false
  /** In milliseconds. */
  readonly credential: number
  readonly connect: number
  readonly answer: number
  /** The tokens that addresses have refused for good, with the words. */
  readonly finals?: Map<string, readonly [token: string, word: string]>
}

/** The types of the options, by their first letters. */
const TYPES: Record<string, string> = { token: 'f', ticket: 'fsb', via: 's', protocols: 'so', create: 'f', fetch: 'fb', timeouts: 'o' }

const TIMEOUTS = { credential: 10_000, connect: 15_000, answer: 5000 }

/** Completes the options. @param more the types of other options. @throws TypeError for a wrong or an unknown option */
export function completeOptions (options: AuthOptions, more: Record<string, string>): Settings {
  const types: Record<string, string> = { ...TYPES, ...more }
  for (const [name, value] of Object.entries(options)) check(name, value === undefined || types[name]?.includes(String(typeof value)[0] as string))
  const { token, ticket, via = 'subprotocol', protocols = [], create, fetch } = options
  check('via', /^(subprotocol|message|header|query)$/.test(via))
  check('create', create || via !== 'header')
  const timeouts = completeNumbers('timeouts', TIMEOUTS, options.timeouts)
  return {
    wallet: new Wallet(token, timeouts.credential),
    ticket,
    via,
    protocols: ([] as string[]).concat(protocols),
    create: create ?? ((url, offered) => new runtime.WebSocket(url, offered)),
    fetch: fetch ?? ((url, init) => runtime.fetch(url, init)),
    ...timeouts
  }
}

/** Completes numbers by their defaults. @throws TypeError if one is unknown, or negative, or none */
export function completeNumbers<T extends Record<string, number>> (name: string, defaults: T, given: Partial<T> = {}): T {
  const numbers: Record<string, number> = { ...defaults }
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined) continue
    check(`${name}.${key}`, typeof value === typeof defaults[key] && value >= 0)
    numbers[key] = value
  }
  return numbers as T
}

/** @throws TypeError */
export function check (name: string, isRight: unknown): void {
  if (!isRight) throw new TypeError(`"${name}" option is wrong, or missing`)
}
