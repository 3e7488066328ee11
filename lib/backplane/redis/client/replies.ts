/*
 * What Redis replies, read into values: clients and versions of its protocol differ in how they show pairs.
 */

/** An entry of a stream: its id, and its fields. */
export interface StreamEntry {
  readonly id: string
  readonly fields: ReadonlyMap<string, string>
}

/** What is pairs: a Map, an object, a list of pairs, or a flat list. */
export function pairsOf (reply: unknown): Array<[string, unknown]> {
  if (reply === null || reply === undefined) return []
  if (reply instanceof Map) return [...reply].map(([key, value]) => [String(key), value])
  if (!Array.isArray(reply)) return typeof reply === 'object' ? Object.entries(reply) : []
  if (reply.every((item) => Array.isArray(item) && item.length === 2)) return reply.map(([key, value]) => [String(key), value])
  const pairs: Array<[string, unknown]> = []
  for (let i = 0; i + 1 < reply.length; i += 2) pairs.push([String(reply[i]), reply[i + 1]])
  return pairs
}

/** The entries of a stream: of XRANGE, and of each stream of XREAD. */
export function entriesOf (reply: unknown): StreamEntry[] {
  if (!Array.isArray(reply)) return []
  return reply.filter(Array.isArray).map(([id, fields]) => ({
    id: String(id),
    fields: new Map(pairsOf(fields).map(([name, value]) => [name, String(value)]))
  }))
}

/** A reply of a transaction. @throws the Error that Redis answered with */
export function valueOf (reply: unknown): unknown {
  if (reply instanceof Error) throw reply
  return reply
}
