/*
 * Validators for options and arguments. Each error names the value and says what the value must be.
 */

import { didYouMean } from './near-names'

/** The longest delay of a timer of Node, in milliseconds. */
const MAX_DELAY = 2 ** 31 - 1

/** @throws TypeError `"<option>" option must be <what>` */
export function invalid (option: string, what: string): never {
  throw new TypeError(`"${option}" option must be ${what}`)
}

export function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** @throws TypeError `"<name>" must be an object` */
export function readArgument (name: string, value: unknown): Record<string, unknown> {
  if (!isObject(value)) throw new TypeError(`"${name}" must be an object`)
  return value
}

/**
 * @param known the names of the options of this argument
 * @param elsewhere the names of options that belong in another place, and the place
 * @throws TypeError if an argument has other properties than those that were read
 */
export function assertNoMore (name: string, rest: Record<string, unknown>, known: readonly string[], elsewhere?: ReadonlyMap<string, string>): void {
  const [key] = Object.keys(rest)
  if (key !== undefined) throw new TypeError(`"${name}.${key}" must be ${noSuchOption(key, known, elsewhere)}`)
}

/** What an unknown option must be, with the name or the place that was most likely meant. */
export function noSuchOption (key: string, known: readonly string[], elsewhere?: ReadonlyMap<string, string>): string {
  const place = elsewhere?.get(key)
  return `left out: there is no such option${place === undefined ? didYouMean(key, known) : `; it belongs in ${place}`}`
}

export function optional<T> (value: unknown, read: (value: unknown) => T): T | undefined {
  return value === undefined ? undefined : read(value)
}

export function readObject (option: string, value: unknown, what = 'an object'): Record<string, unknown> {
  if (!isObject(value)) invalid(option, what)
  return value
}

/** As {@link readObject}; what is left out is an empty object. `null` is not left out: it may be the result of a mistake. */
export function readOptionalObject (option: string, value: unknown, what?: string): Record<string, unknown> {
  return value === undefined ? {} : readObject(option, value, what)
}

/**
 * @param known the names of the options that may stand in the object
 * @param elsewhere the names of options that belong in another place, and the place
 */
export function checkKeys (object: Record<string, unknown>, prefix: string, known: readonly string[], elsewhere?: ReadonlyMap<string, string>): void {
  for (const key of Object.keys(object)) {
    if (!known.includes(key)) invalid(`${prefix}${key}`, noSuchOption(key, known, elsewhere))
  }
}

export function readFunction<T extends Function> (option: string, value: unknown): T | undefined {
  if (value !== undefined && typeof value !== 'function') invalid(option, 'a function')
  return value as T | undefined
}

export function readName (option: string, value: unknown): string {
  if (typeof value !== 'string' || value === '') invalid(option, 'a non-empty string')
  return value
}

export function readStrings (option: string, value: unknown, pattern: RegExp, what: string): readonly string[] {
  const isList = Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string' && pattern.test(item))
  if (!isList) invalid(option, `a non-empty array of ${what}`)
  return Object.freeze([...value])
}

export function readInteger (option: string, value: unknown, min: number, max: number, byDefault?: number): number {
  if (value === undefined && byDefault !== undefined) return byDefault
  if (!isInteger(value, min, max)) invalid(option, `an integer from ${min} to ${max}`)
  return value
}

/** Reads the delay of a timer, in milliseconds. Node would run a timer with a longer delay at once. */
export function readDelay (option: string, value: unknown, byDefault?: number): number {
  return readInteger(option, value, 1, MAX_DELAY, byDefault)
}

/** Whether a value is the delay of a timer, in milliseconds. */
export function isDelay (value: unknown): value is number {
  return isInteger(value, 1, MAX_DELAY)
}

/** As {@link readInteger}, or `Infinity`. */
export function readCount (option: string, value: unknown, byDefault: number): number {
  if (value === undefined) return byDefault
  if (value !== Infinity && !isInteger(value, 1, Number.MAX_SAFE_INTEGER)) invalid(option, 'a positive integer, or Infinity')
  return value as number
}

export function readBoolean (option: string, value: unknown): boolean {
  if (typeof value !== 'boolean') invalid(option, 'a boolean')
  return value
}

function isInteger (value: unknown, min: number, max: number): value is number {
  return Number.isInteger(value) && Number(value) >= min && Number(value) <= max
}
