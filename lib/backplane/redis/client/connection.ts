/*
 * What is asked of a Redis, whatever client asks. One that blocks is a duplicate of the app's, which is ours to open and to close.
 */

/** Asks Redis. */
export interface RedisConnection {
  /** One command. @throws what the client or Redis throws */
  send (command: readonly string[]): Promise<unknown>
  /** Some commands in one transaction (MULTI). Each reply is a value, or the Error that Redis answered with. */
  transact (commands: ReadonlyArray<readonly string[]>): Promise<unknown[]>
}

/** A connection of our own. */
export interface OwnConnection extends RedisConnection {
  /** @throws where it cannot be opened; it does not try again */
  open (): Promise<void>
  close (): void
}

/** The connection of the app. */
export interface AppConnection extends RedisConnection {
  /** Another to the same Redis, which is not open yet. */
  duplicate (): OwnConnection
}

/** Whether a client has methods of these names. */
export function hasMethods (client: unknown, names: readonly string[]): boolean {
  return typeof client === 'object' && client !== null && names.every((name) => typeof (client as Record<string, unknown>)[name] === 'function')
}
