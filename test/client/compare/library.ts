/*
 * What the libraries under comparison have in common: a server of theirs, and a client as its documents advise.
 */
import type { Attach, Host } from './host'
import type { Tokens } from './tokens'

/** A client of a library, in the hands of its user. */
export interface Client {
  /** All events that the library has given its user, in few words. */
  readonly told: string[]
  /** Whether the library has told that it has stopped for good. */
  readonly hasStopped: () => boolean
  /** Sends a message of the app. @throws if the library throws */
  readonly send: (text: string) => void
  /** Another user has logged in: connect as that one, by the means of the library. */
  readonly switchUser: () => void
  readonly close: () => void
}

export interface Library {
  /** The name of its package, as in the table. */
  readonly name: string
  readonly attach: Attach
  readonly open: (host: Host, tokens: Tokens) => Client
  /** Takes the only place of the user of a token on a full server, until the function that it returns is called. Default: the server says so by `isFull` */
  readonly takePlace?: (host: Host, token: string) => Promise<() => void>
  /** Why a situation does not exist with this library, by the name of the situation. */
  readonly without?: Readonly<Record<string, string>>
}
