/*
 * Positions in the log. An id is `<epoch>-<sequence>`. Within an epoch each sequence is one more than the last, so that a gap shows;
 * a log that was lost and created again has another epoch.
 */

/** The position of a reader in the log. */
export interface Position {
  readonly id: string
  /** The uid of the entry at this position; `null` if there is no entry. */
  readonly uid: string | null
}

/** The position before the first entry of any log. */
export const START: Position = { id: '0-0', uid: null }

/** The epoch of an id. */
export function epochOf (id: string): string {
  return id.split('-', 1)[0] as string
}

/** Less than 0 if the first id is before the other, 0 if they are equal, more than 0 if it is after the other. */
export function compareIds (one: string, other: string): number {
  const [epoch = 0n, sequence = 0n] = partsOf(one)
  const [otherEpoch = 0n, otherSequence = 0n] = partsOf(other)
  const difference = epoch === otherEpoch ? sequence - otherSequence : epoch - otherEpoch
  return difference < 0n ? -1 : Number(difference > 0n)
}

/** Whether no entry can be between two ids. The first entry of a log has the sequence 0. */
export function isNext (id: string, after: string): boolean {
  if (after === START.id && id.endsWith('-0')) return true
  const [epoch, sequence = 0n] = partsOf(id)
  const [afterEpoch, afterSequence = 0n] = partsOf(after)
  return epoch === afterEpoch && sequence === afterSequence + 1n
}

/** The epoch and the sequence of an id, which have 64 bits each. An empty array if the text is not an id. */
export function partsOf (id: string): bigint[] {
  return /^\d+-\d+$/.test(id) ? id.split('-').map(BigInt) : []
}
