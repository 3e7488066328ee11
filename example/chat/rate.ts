/** A function that answers `true` at most `max` times for a key in each `period` of milliseconds. Its memory is bounded. */
export function createLimit (max: number, period: number): (key: string) => boolean {
  const counts = new Map<string, number>()
  let endsAt = 0
  return (key) => {
    if (Date.now() >= endsAt || counts.size >= 10_000) {
      counts.clear()
      endsAt = Date.now() + period
    }
    const count = (counts.get(key) ?? 0) + 1
    counts.set(key, count)
    return count <= max
  }
}
