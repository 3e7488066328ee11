/* Commands with a deadline of ours: by default no client notices that a server has stopped. */
import { withDeadline } from '../../../base/deadline'
import type { RedisConnection } from './connection'

/** How long Redis may take to answer, in milliseconds. */
export const COMMAND_TIMEOUT = 5000

/** A connection whose every answer is waited for that long and no longer. */
export function withDeadlines ({ send, transact }: RedisConnection, timeout = COMMAND_TIMEOUT): RedisConnection {
  return {
    send: async (command) => await withDeadline(send(command), timeout, `Redis' ${command[0]}`),
    transact: async (commands) => await withDeadline(transact(commands), timeout, 'a transaction of Redis')
  }
}
