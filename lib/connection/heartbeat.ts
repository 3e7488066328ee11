/*
 * Pings, since a connection whose other side has lost power or its network looks open for hours. Any byte that arrives is
 * a sign of life: a slow upload may hold up the pong behind it.
 */
import type { ConnectionRegistry } from './registry'
import { inSlices } from '../base/slices'

/**
 * Pings all connections every `interval` milliseconds, and ends those from which nothing came since the last time.
 *
 * @returns how to stop it
 */
export function startHeartbeat (connections: ConnectionRegistry, interval: number): () => void {
  let timer: NodeJS.Timeout | undefined
  // The next is due so long after this one, not after it was due: a loop that was blocked would leave no time to answer.
  const next = (): void => { timer &&= setTimeout(soon, interval).unref() }
  const beat = (): void => inSlices(connections[Symbol.iterator](), (connection) => connection.beat(), next)
  // Where the loop was blocked, what came meanwhile is read before an immediate runs, but after a timer.
  const soon = (): void => { setImmediate(beat) }
  timer = setTimeout(soon, interval).unref()
  return () => {
    clearTimeout(timer)
    timer = undefined
  }
}
