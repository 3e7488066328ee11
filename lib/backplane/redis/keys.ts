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
  /** The sorted set of instances whose slots count. The score is when an instance counts as gone, in milliseconds since the epoch by the clock of Redis. */
  readonly leases: string
  /** The hash of what is known of the leases: the last call of each, the last call of all, and when data was lost. */
  readonly leaseState: string
  /** The sorted set of slots that were taken from connections which are not closed yet. */
  readonly evicted: string
  /** The sorted set of the slots of a user, by the hash of the user. The score is when a slot was taken, in microseconds since the epoch. */
  readonly slots: (user: string) => string
  /** How many instances had died when the slots of dead instances were last removed, by the hash of the user. */
  readonly pruned: (user: string) => string
}

export function keysOf (prefix: string): Keys {
  const tag = `{${prefix}}:`
  return {
    log: `${tag}log`,
    revoked: `${tag}revoked`,
    alive: `${tag}alive`,
    inbox: (id) => `${tag}inbox:${id}`,
    value: (name) => `${tag}value:${name}`,
    leases: `${tag}leases`,
    leaseState: `${tag}lease-state`,
    evicted: `${tag}evicted`,
    slots: (user) => `${tag}slots:${user}`,
    pruned: (user) => `${tag}pruned:${user}`
  }
}
