/*
 * Clients throw errors that have the command in them: the password of the connection, the claims behind a ticket. What is
 * logged of them is what Redis said, and nothing of what it was told.
 */
import { errorWithoutToken } from '../../../base/redaction'
import type { AppConnection, OwnConnection, RedisConnection } from './connection'

/** Redis repeats the arguments of a command that it does not know. */
const REPEATED = /, with args beginning with[^]*/

/** The same connection, whose errors say nothing of what it was asked. */
export function discreet (connection: AppConnection): AppConnection {
  return { ...discreetRequests(connection), duplicate: () => discreetOwn(connection.duplicate()) }
}

function discreetOwn (own: OwnConnection): OwnConnection {
  return { ...discreetRequests(own), open: async () => await own.open().catch(fail), close: () => own.close() }
}

function discreetRequests ({ send, transact }: RedisConnection): RedisConnection {
  return {
    send: async (command) => await send(command).catch(fail),
    transact: async (commands) => (await transact(commands).catch(fail)).map((reply) => reply instanceof Error ? discreetError(reply) : reply)
  }
}

function fail (error: unknown): never {
  throw discreetError(error)
}

function discreetError (error: unknown): Error {
  const safe = errorWithoutToken(error, '')
  if (!REPEATED.test(safe.message)) return safe
  return new Error(safe.message.replace(REPEATED, ''))
}
