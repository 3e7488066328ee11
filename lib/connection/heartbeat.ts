/*
 * Pings, because a connection looks open for hours after its client has lost power or the network. Any byte counts as an answer:
 * a slow upload may delay the pong behind it.
 */
import type { ConnectionRegistry } from './registry'
import { inSlices, SLICE_TIME } from '../base/slices'

/**
 * Sends a ping to all connections every `interval` milliseconds, and ends those that sent nothing since the last ping.
 *
 * @returns stops it
 */
export function startHeartbeat (connections: ConnectionRegistry, interval: number): () => void {
  let timer: NodeJS.Timeout | undefined
  // Reschedule from now, so that a blocked event loop does not eat the clients' time to answer.
  const next = (): void => { timer &&= setTimeout(soon, interval).unref() }
  const beat = (): void => inSlices(connections[Symbol.iterator](), (connection) => connection.beat(), next, SLICE_TIME)
  // After a blocked event loop, a timer runs before the data that has arrived is read, and an immediate runs after it.
  const soon = (): void => { setImmediate(beat) }
  timer = setTimeout(soon, interval).unref()
  return () => {
    clearTimeout(timer)
    timer = undefined
  }
}
