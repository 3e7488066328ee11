/*
 * Where a reader stands in the log. The ids of a log are `<epoch>-<sequence>`: within an epoch each is one more than the one
 * before, so that a gap shows; a log that was lost and begun again is of another epoch.
 */

/** A place in the log. */
export interface Position {
  readonly id: string
  /** Of the entry there; `null` where there was none to be read. */
  readonly uid: string | null
}

/** The place before the first entry of any log. */
export const START: Position = { id: '0-0', uid: null }

/** The epoch of an id. */
export function epochOf (id: string): string {
  return id.split('-', 1)[0] as string
}

/** Less than, equal to, or more than 0, as one id stands before another, is it, or stands behind it. */
export function compareIds (one: string, other: string): number {
  const [epoch = 0n, sequence = 0n] = partsOf(one)
  const [otherEpoch = 0n, otherSequence = 0n] = partsOf(other)
  const difference = epoch === otherEpoch ? sequence - otherSequence : epoch - otherEpoch
  return difference < 0n ? -1 : Number(difference > 0n)
}

/** Whether nothing can stand between two ids. A log begins with 0. */
export function isNext (id: string, after: string): boolean {
  if (after === START.id && id.endsWith('-0')) return true
  const [epoch, sequence = 0n] = partsOf(id)
  const [afterEpoch, afterSequence = 0n] = partsOf(after)
  return epoch === afterEpoch && sequence === afterSequence + 1n
}

/** The epoch and the sequence of an id, each of 64 bits; none of what is no id. */
export function partsOf (id: string): bigint[] {
  return /^\d+-\d+$/.test(id) ? id.split('-').map(BigInt) : []
}
