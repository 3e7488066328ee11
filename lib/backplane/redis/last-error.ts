/*
 * The last failure of an instance's link to Redis, for gauges. Gauges are read by more people than logs: the message has no
 * address and no password, and is short.
 */
import type { BackplaneError } from '../contract'
import type { RedisConnection } from './client/connection'

/** How long a message may be, in characters. */
const MAX_LENGTH = 200

/** The code of an error of the operating system. Its message has the address. */
const SYSTEM_CODE = /^E[A-Z_]+$/

/** A URL, or a host with a port. */
const ADDRESS = /\w+:\/\/\S+|\S+:\d+/g

/** Keeps the last failure. */
export class LastError {
  #value: BackplaneError | null = null

  get value (): BackplaneError | null {
    return this.#value
  }

  note (error: unknown): void {
    this.#value = { at: Date.now(), message: messageOf(error) }
  }

  /** Keeps an error, and throws it. */
  rethrow (error: unknown): never {
    this.note(error)
    throw error
  }

  /** The same connection, whose errors are kept. */
  watch ({ send, transact }: RedisConnection): RedisConnection {
    return {
      send: async (command) => await send(command).catch((error: unknown) => this.rethrow(error)),
      transact: async (commands) => await transact(commands).catch((error: unknown) => this.rethrow(error))
    }
  }
}

function messageOf (error: unknown): string {
  const { code, message } = Object(error) as { code?: unknown, message?: unknown }
  if (typeof code === 'string' && SYSTEM_CODE.test(code)) return code
  if (typeof message !== 'string') return 'an unknown error'
  // Cut twice, because the replacement of a long text without spaces is slow.
  return message.slice(0, 2 * MAX_LENGTH).replace(ADDRESS, '…').slice(0, MAX_LENGTH)
}
