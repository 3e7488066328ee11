/*
 * Values of options, as data that JSON has: a snapshot of it compares equal if the options do.
 */

/** Data that JSON has. */
export type PlainData = string | number | boolean | null | readonly PlainData[] | { readonly [key: string]: PlainData }

/** A copy. `Infinity` and `undefined` are `null`, a function is `'function'`, and anything else that JSON has not is its text. */
export function plainData (value: unknown): PlainData {
  if (value === undefined || value === Infinity) return null
  if (value === null || typeof value === 'string' || typeof value === 'boolean' || typeof value === 'number') return value
  if (typeof value === 'function') return 'function'
  if (Array.isArray(value)) return value.map(plainData)
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return String(value)
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plainData(each)]))
}

/** Freezes a value and all that it contains. */
export function deepFreeze<T> (value: T): T {
  if (typeof value === 'object' && value !== null) for (const each of Object.values(value)) deepFreeze(each)
  return Object.freeze(value)
}
