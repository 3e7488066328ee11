/*
 * The options of both clients, checked and complete.
 */
import type { AuthOptions, FetchLike, WebSocketLike } from './types'
import { runtime } from './runtime'
import { Wallet } from './wallet'

/** Complete options, and the token that all connections of a client share. */
export interface Settings extends Pick<AuthOptions, 'via' | 'ticket'> {
  readonly wallet: Wallet
  readonly protocols: readonly string[]
  readonly create: (url: string, protocols: string[], headers: Record<string, string>) => WebSocketLike
  /** `null` if it is off. */
  readonly fetch: FetchLike | null
  readonly credentialTimeout: number
  readonly connectTimeout: number
  readonly answerTimeout: number
}

const CHECKS: Record<string, (value: unknown) => boolean> = {
  token: isFunction,
  ticket: (value) => value === true || typeof value === 'string' || isFunction(value),
  via: (value) => ['subprotocol', 'message', 'header', 'query'].includes(value as string),
  protocols: (value) => typeof value === 'string' || Array.isArray(value),
  create: isFunction,
  fetch: (value) => value === false || isFunction(value),
  timeouts: areDurations('credential', 'connect', 'answer')
}

/** Checks the value of each option. @throws TypeError for a wrong or an unknown option */
export function checkOptions (options: object, more: typeof CHECKS): void {
  for (const [name, value] of Object.entries(options)) {
    const check = new Map(Object.entries({ ...CHECKS, ...more })).get(name)
    if (check === undefined) throw new TypeError(`"${name}" is not an option`)
    if (value !== undefined && !check(value)) throw new TypeError(`"${name}" option has a wrong value`)
  }
}

export function isFunction (value: unknown): boolean {
  return typeof value === 'function'
}

export function isDuration (value: unknown): boolean {
  return typeof value === 'number' && value >= 0
}

/** Makes a check of an object that has only durations of these names. */
export function areDurations (...names: string[]): (value: unknown) => boolean {
  return (value) => typeof value === 'object' && value !== null && Object.entries(value).every(([name, each]) => names.includes(name) && (each === undefined || isDuration(each)))
}

/** Completes the options. @throws TypeError if two of them do not fit */
export function completeOptions ({ token, ticket, via = 'subprotocol', protocols = [], create, fetch, timeouts = {} }: AuthOptions): Settings {
  if (via === 'header' && create === undefined) throw new TypeError('"via" option can be "header" only with the "create" option')
  if (ticket !== undefined && fetch === false && !isFunction(ticket)) throw new TypeError('"ticket" option needs the "fetch" option')
  const { credential = 10_000, connect = 15_000, answer = 5000 } = timeouts
  return {
    wallet: new Wallet(token, credential),
    ticket,
    via,
    protocols: ([] as string[]).concat(protocols),
    create: create ?? ((url, offered) => new runtime.WebSocket(url, offered)),
    fetch: fetch === false ? null : fetch ?? ((url, options) => runtime.fetch(url, options)),
    credentialTimeout: credential,
    connectTimeout: connect,
    answerTimeout: answer
  }
}
