/*
 * The keys of an app in Redis. All have the same hash tag, so that a cluster keeps them on one node and one command can read several.
 */

/** The names of the keys. */
export interface Keys {
  /** The stream of commands. */
  readonly log: string
  /** The sorted set of revocations in force. The score is when a revocation ends, in milliseconds since the epoch. */
  readonly revoked: string
  /** The sorted set of live instances. The score is when an instance counts as gone, in milliseconds since the epoch by the clock of Redis. */
  readonly alive: string
  /** The stream of answers to an instance, by its id. */
  readonly inbox: (id: string) => string
  /** A stored value, by its name. Never one of the keys above. */
  readonly value: (name: string) => string
}

export function keysOf (prefix: string): Keys {
  const tag = `{${prefix}}:`
  return { log: `${tag}log`, revoked: `${tag}revoked`, alive: `${tag}alive`, inbox: (id) => `${tag}inbox:${id}`, value: (name) => `${tag}value:${name}` }
}
