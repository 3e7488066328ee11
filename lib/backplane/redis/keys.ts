/* The keys of an app in Redis. All have one hash tag: in a cluster they are on one node, where one command can read several. */

/** How long answers are kept for who has asked, in milliseconds. */
export const INBOX_TTL = 60_000

/** Names of keys. */
export interface Keys {
  /** The stream of commands. */
  readonly log: string
  /** The sorted set of revocations in force, by when each is over. */
  readonly revoked: string
  /** The sorted set of instances, by until when each is believed to live. */
  readonly alive: string
  /** The stream of answers to an instance. */
  readonly inbox: (id: string) => string
  /** What is kept by a name, whatever that is: it is none of the above. */
  readonly value: (name: string) => string
}

export function keysOf (prefix: string): Keys {
  const tag = `{${prefix}}:`
  return { log: `${tag}log`, revoked: `${tag}revoked`, alive: `${tag}alive`, inbox: (id) => `${tag}inbox:${id}`, value: (name) => `${tag}value:${name}` }
}
