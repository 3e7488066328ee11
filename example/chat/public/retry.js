const MAX_DELAY = 10_000

/** How long to wait before an attempt, in milliseconds. The delay doubles, and a random part keeps the pages of a restarted server apart. */
export function delayOf (attempt) {
  return Math.min(MAX_DELAY, 400 * 2 ** attempt) * (0.5 + Math.random() / 2)
}
