/*
 * The words of the table. A number that a repetition may change has `~` before it, and so has each duration.
 */

/** How many; more than two may be another number the next time. */
export function amount (count: number, name: string): string {
  return `${count > 2 ? '~' : ''}${count} ${name}${count === 1 ? '' : 's'}`
}

/** How many, which may be another number the next time. */
export function about (count: number, name: string): string {
  return `~${count} ${name}${count === 1 ? '' : 's'}`
}

/** A duration. */
export function seconds (milliseconds: number): string {
  return `~${(milliseconds / 1000).toFixed(1)} s`
}

/** Events in the order in which each came first, with their numbers. */
export function list (events: readonly string[]): string {
  const counts = new Map<string, number>()
  for (const event of events) counts.set(event, (counts.get(event) ?? 0) + 1)
  return [...counts].map(([event, count]) => `\`${event}\`${count === 1 ? '' : ` ×${count > 2 ? '~' : ''}${count}`}`).join(', ')
}

/** The most events in any window of so many milliseconds. */
export function busiest (times: readonly number[], window: number): number {
  return Math.max(0, ...times.map((start) => times.filter((at) => at >= start && at < start + window).length))
}

/** A text in which each number that may change is the same. */
export function withoutNumbers (text: string): string {
  return text.replace(/~\d+(?:\.\d+)?/g, '~').replace(/(~ [a-z ]*(?:call|handshake|run))s?\b/g, '$1')
}
