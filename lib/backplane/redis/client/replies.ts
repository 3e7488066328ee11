/*
 * Reads the replies of Redis. Clients and versions of the protocol (RESP2, RESP3) represent pairs in different ways.
 */

/** An entry of a stream. */
export interface StreamEntry {
  readonly id: string
  readonly fields: ReadonlyMap<string, string>
}

/** The pairs of a Map, an object, a list of pairs, or a flat list of names and values. */
export function pairsOf (reply: unknown): Array<[string, unknown]> {
  if (reply === null || reply === undefined) return []
  if (reply instanceof Map) return [...reply].map(([key, value]) => [String(key), value])
  if (!Array.isArray(reply)) return typeof reply === 'object' ? Object.entries(reply) : []
  if (reply.every((item) => Array.isArray(item) && item.length === 2)) return reply.map(([key, value]) => [String(key), value])
  const pairs: Array<[string, unknown]> = []
  for (let i = 0; i + 1 < reply.length; i += 2) pairs.push([String(reply[i]), reply[i + 1]])
  return pairs
}

/** The entries in a reply to XRANGE, or of one stream in a reply to XREAD. */
export function entriesOf (reply: unknown): StreamEntry[] {
  if (!Array.isArray(reply)) return []
  return reply.filter(Array.isArray).map(([id, fields]) => ({
    id: String(id),
    fields: new Map(pairsOf(fields).map(([name, value]) => [name, String(value)]))
  }))
}

/** The value of a reply in a transaction. @throws the reply, if it is an Error */
export function valueOf (reply: unknown): unknown {
  if (reply instanceof Error) throw reply
  return reply
}
