/*
 * Removes secrets from the errors of a client. Such an error can hold the command, and with it the password of the connection or
 * the claims of a ticket; only the reply of Redis is kept.
 */
import { errorWithoutToken } from '../../../base/redaction'
import { UnusableClientError } from './connection'
import type { AppConnection, OwnConnection, RedisConnection } from './connection'

/** The part of an "unknown command" reply that repeats the arguments. */
const REPEATED = /, with args beginning with[^]*/

/** The same connection, whose errors do not hold the command. */
export function redacted (connection: AppConnection): AppConnection {
  return { ...redactedRequests(connection), duplicate: () => redactedOwn(connection.duplicate()) }
}

function redactedOwn (own: OwnConnection): OwnConnection {
  return { ...redactedRequests(own), open: async () => await own.open().catch(fail), close: () => own.close() }
}

function redactedRequests ({ send, transact }: RedisConnection): RedisConnection {
  return {
    send: async (command) => await send(command).catch(fail),
    transact: async (commands) => (await transact(commands).catch(fail)).map((reply) => reply instanceof Error ? redactedError(reply) : reply)
  }
}

function fail (error: unknown): never {
  throw redactedError(error)
}

function redactedError (error: unknown): Error {
  if (error instanceof UnusableClientError) return error
  const safe = errorWithoutToken(error, '')
  if (!REPEATED.test(safe.message)) return safe
  return new Error(safe.message.replace(REPEATED, ''))
}
