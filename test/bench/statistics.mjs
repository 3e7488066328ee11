// @ts-check
/*
 * Medians and quartiles: on a machine that others use, the mean belongs to them.
 */

/** @typedef {{ median: number, low: number, high: number, n: number }} Spread  `low` and `high` are the quartiles */

/** @param {number[]} values @returns {Spread} */
export function spreadOf (values) {
  const sorted = [...values].sort((a, b) => a - b)
  return { median: quantile(sorted, 0.5), low: quantile(sorted, 0.25), high: quantile(sorted, 0.75), n: sorted.length }
}

/** Interpolated between the two neighbours. */
function quantile (sorted, q) {
  const position = (sorted.length - 1) * q
  const below = sorted[Math.floor(position)]
  return below + (sorted[Math.ceil(position)] - below) * (position % 1)
}

/** The ratios of two series that were measured side by side. @param {number[]} ones @param {number[]} others */
export function pairedRatios (ones, others) {
  return spreadOf(ones.map((one, i) => one / others[i]))
}

/** @template T @param {readonly T[]} values @returns {T[]} in random order */
export function shuffled (values) {
  const order = values.map((value) => ({ value, at: Math.random() }))
  return order.sort((a, b) => a.at - b.at).map(({ value }) => value)
}
