/*
 * client/ adapts the app's Redis client, whichever library it is of, to the interface `RedisConnection`. It may import base/.
 * Start with the interfaces here, then detect.ts, which chooses the adapter.
 */
import { withDeadline } from '../../../base/deadline'

/** How long a command waits for the reply of Redis, in milliseconds. */
export const COMMAND_TIMEOUT = 5000

/** The app's client can never be used, whatever Redis answers. The message follows `"client" option must be`. */
export class UnusableClientError extends TypeError {
  constructor (what: string) {
    super(`"client" option must be ${what}`)
  }
}

/** Sends commands to Redis. */
export interface RedisConnection {
  /** Sends one command. @throws the errors of the client or of Redis */
  send (command: readonly string[]): Promise<unknown>
  /** Sends commands in one transaction (MULTI). Each reply is a value, or the Error that Redis replied with. @throws the errors of the client */
  transact (commands: ReadonlyArray<readonly string[]>): Promise<unknown[]>
}

/** A connection that this package opens and closes. It may block, because no other command shares it. */
export interface OwnConnection extends RedisConnection {
  /** Opens the connection, in one attempt. @throws the error of the client */
  open (): Promise<void>
  close (): void
}

/** The connection of the app. It is neither opened nor closed here. */
export interface AppConnection extends RedisConnection {
  /** Another connection to the same Redis, which is not open yet. */
  duplicate (): OwnConnection
}

/** The same connection, with a deadline for every reply, because clients have none by default. */
export function withDeadlines ({ send, transact }: RedisConnection, timeout = COMMAND_TIMEOUT): RedisConnection {
  return {
    send: async (command) => await withDeadline(send(command), timeout, `the Redis command ${command[0]}`),
    transact: async (commands) => await withDeadline(transact(commands), timeout, 'a Redis transaction')
  }
}

/** Whether a client has methods of these names. */
export function hasMethods (client: unknown, names: readonly string[]): boolean {
  return typeof client === 'object' && client !== null && names.every((name) => typeof (client as Record<string, unknown>)[name] === 'function')
}
