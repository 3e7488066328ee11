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

/** Completes the options. @param more the types of other options. @throws TypeError for a wrong or an unknown option */
export function completeOptions (options: AuthOptions, more: Record<string, string>): Settings {
  const types: Record<string, string> = { ...TYPES, ...more }
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined && !types[name]?.includes(String(typeof value)[0] as string)) throw new TypeError(`"${name}" option is wrong`)
  }
  const { token, ticket, via, protocols = [], create, fetch, timeouts = {} } = options
  const { credential = 10_000, connect = 15_000, answer = 5000 } = timeouts
  if (via !== undefined && !/^(subprotocol|message|header|query)$/.test(via)) throw new TypeError('"via" option is wrong')
  if (via === 'header' && create === undefined) throw new TypeError('"via" option needs "create"')
  return {
    wallet: new Wallet(token, credential),
    ticket,
    via,
    protocols: ([] as string[]).concat(protocols),
    create: create ?? ((url, offered) => new runtime.WebSocket(url, offered)),
    fetch: fetch ?? ((url, init) => runtime.fetch(url, init)),
    credential,
    connect,
    answer
  }
}
