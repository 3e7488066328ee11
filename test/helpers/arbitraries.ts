/*
 * What the properties of the tests are about: texts, bytes, tokens and frames of any kind, and more often than by chance of
 * the kinds that parsers stumble over.
 *
 * FC_SEED and FC_PATH in the environment repeat a failure, which names both; FC_RUNS is by how much more is tried.
 */
import fc from 'fast-check'
import type { Arbitrary, IAsyncPropertyWithHooks, IPropertyWithHooks, Parameters } from 'fast-check'

const { FC_SEED: SEED, FC_PATH: PATH, FC_RUNS: FACTOR = '1' } = process.env

function parametersOf<Args> (runs: number, examples: Args[]): Parameters<Args> {
  const repeated = SEED === undefined ? {} : { seed: Number(SEED), ...PATH === undefined ? {} : { path: PATH } }
  return { numRuns: Math.ceil(runs * Number(FACTOR)), examples, ...repeated }
}

/** Throws where a property does not hold, with the least that it does not hold for. What once was a bug is tried first. */
export function holds<Args> (property: IPropertyWithHooks<Args>, runs: number, examples: Args[] = []): void {
  fc.assert(property, parametersOf(runs, examples))
}

/** The same, for a property that takes time. */
export async function holdsAsync<Args> (property: IAsyncPropertyWithHooks<Args>, runs: number, examples: Args[] = []): Promise<void> {
  await fc.assert(property, parametersOf(runs, examples))
}

/** Any text, one that no encoding can write included (half a surrogate pair). */
export const anyText: Arbitrary<string> = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ unit: 'grapheme-ascii', maxLength: 40 }),
  fc.array(fc.integer({ min: 0, max: 0xFFFF }), { maxLength: 20 }).map((units) => String.fromCharCode(...units))
)

/** Any text that is Unicode. */
export const unicode: Arbitrary<string> = fc.string({ unit: 'binary', maxLength: 40 })

/** What a header's name, a subprotocol and an opaque token are made of (RFC 9110, 5.6.2). */
export const httpToken: Arbitrary<string> = fc.stringMatching(/^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,30}$/)

/** A text that looks like a JWT. */
export const jwtLike: Arbitrary<string> = fc.stringMatching(/^[\w-]{4,20}\.[\w-]{4,30}\.[\w-]{4,30}$/)

/** The same text, with any of its bytes percent-encoded, in either case; a space as a plus now and then. */
export function percentEncodings (text: string): Arbitrary<string> {
  const bytes = [...Buffer.from(text)]
  return fc.array(fc.nat(3), { minLength: bytes.length, maxLength: bytes.length }).map((ways) => bytes.map((byte, i) => {
    const hex = byte.toString(16).padStart(2, '0')
    if (byte === 0x20 && ways[i] === 0) return '+'
    if (ways[i] === 1) return `%${hex}`
    if (ways[i] === 2 || !/[\w.~-]/.test(String.fromCharCode(byte))) return `%${hex.toUpperCase()}`
    return String.fromCharCode(byte)
  }).join(''))
}

/** A text, in any mixture of upper and lower case. */
export function anyCase (text: string): Arbitrary<string> {
  return fc.mixedCase(fc.constant(text))
}

/** Spaces and tabs as RFC 9110 allows them around what is in a list. */
export const optionalWhitespace: Arbitrary<string> = fc.constantFrom('', '', ' ', '\t', '  ')

/** All of a list, in any order. */
export function anyOrder<T> (items: readonly T[]): Arbitrary<T[]> {
  return fc.shuffledSubarray([...items], { minLength: items.length })
}

/** A text as JSON writes it, any of its characters escaped. Half a surrogate pair is not written otherwise. */
export function jsonTexts (text: string): Arbitrary<string> {
  const units = text.split('')
  return fc.array(fc.nat(4), { minLength: units.length, maxLength: units.length }).map((ways) => {
    const written = units.map((unit, i) => {
      const isHalf = /[\uD800-\uDFFF]/.test(unit)
      if (ways[i] === 0 || isHalf) return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
      return unit === '/' && ways[i] === 1 ? '\\/' : JSON.stringify(unit).slice(1, -1)
    })
    return `"${written.join('')}"`
  })
}

/** A message of a client. */
export interface ClientMessage {
  readonly isBinary: boolean
  readonly payload: Buffer
}

/** A frame of a client (RFC 6455, 5.2). */
export function maskedFrame (opcode: number, payload: Buffer, isLast: boolean, mask: Buffer): Buffer {
  const { length } = payload
  const size = length < 126 ? [0x80 | length] : length < 65_536 ? [0xFE, length >> 8, length & 255] : [0xFF, 0, 0, 0, 0, 0, length >> 16, (length >> 8) & 255, length & 255]
  const masked = Buffer.from(payload.map((byte, i) => byte ^ (mask[i % 4] as number)))
  return Buffer.concat([Buffer.from([(isLast ? 0x80 : 0) | opcode, ...size]), mask, masked])
}

/** So many bytes at most. */
export function bytes (maxLength: number): Arbitrary<Buffer> {
  return fc.uint8Array({ maxLength }).map((array) => Buffer.from(array))
}

const MAX_CUTS = 4
/** Where something is cut: as parts of its length. */
const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: MAX_CUTS })

function cut (whole: Buffer, at: readonly number[]): Buffer[] {
  const places = at.map((part) => Math.floor(part * whole.length)).sort((a, b) => a - b)
  return [...places, whole.length].map((end, i) => whole.subarray(places[i - 1] ?? 0, end))
}

/** How messages travel: as the chunks of a TCP connection, with the pings between, in the order in which they come. */
export interface Travel {
  readonly chunks: Buffer[]
  readonly pings: Buffer[]
}

interface SentFrame {
  readonly bytes: Buffer
  /** What is to come back, where it is a ping. */
  readonly ping: Buffer | null
}

const mask = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((array) => Buffer.from(array))
/** The mask of each part of a message, and the ping before it. */
const dressings = fc.array(fc.tuple(mask, fc.option(bytes(125), { nil: null, freq: 2 })), { minLength: MAX_CUTS + 1, maxLength: MAX_CUTS + 1 })

function framesOf ({ isBinary, payload }: ClientMessage): Arbitrary<SentFrame[]> {
  return fc.tuple(cuts, dressings).map(([places, dressed]) => cut(payload, places).flatMap((part, i, parts) => {
    const [mask, ping] = dressed[i] as [Buffer, Buffer | null]
    const opcode = i > 0 ? 0 : isBinary ? 2 : 1
    const frame: SentFrame = { bytes: maskedFrame(opcode, part, i === parts.length - 1, mask), ping: null }
    return ping === null ? [frame] : [{ bytes: maskedFrame(9, ping, true, mask), ping }, frame]
  }))
}

/** Messages in frames, cut anywhere, with pings between the frames; and all of it cut anywhere again. */
export function travels (messages: readonly ClientMessage[]): Arbitrary<Travel> {
  return fc.tuple(fc.tuple(...messages.map(framesOf)), cuts).map(([frames, places]) => {
    const all = frames.flat()
    return { chunks: cut(Buffer.concat(all.map(({ bytes }) => bytes)), places), pings: all.flatMap(({ ping }) => ping ?? []) }
  })
}
