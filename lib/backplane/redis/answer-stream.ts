/*
 * The stream of answers to an instance: the commands that open it and add to it, and how an entry is read. An answer stays in
 * the stream if the asking instance has lost its connection.
 */
import type { StreamEntry } from './client/replies'
import type { Keys } from './keys'

/** How long the stream is kept after the last question, in milliseconds. */
export const INBOX_TTL = 60_000

/** About how many answers the stream keeps. */
const MAX_ANSWERS = 10_000

/** The answer of one instance: how many connections each command closed there, by the uid of the command. */
export interface Answer {
  readonly from: string
  readonly closed: ReadonlyArray<readonly [string, number]>
}

/** The commands that open the stream of an instance. */
export function openInboxCommands ({ inbox }: Keys, id: string): string[][] {
  return [['XADD', inbox(id), 'MAXLEN', '~', String(MAX_ANSWERS), '*', 'asks', id], ['PEXPIRE', inbox(id), String(INBOX_TTL)]]
}

/** The command that adds an answer. It adds nothing if the stream does not exist, because then the asking instance is gone. */
export function answerCommand ({ inbox }: Keys, to: string, from: string, closed: ReadonlyMap<string, number>): string[] {
  const fields = ['from', from, 'closed', JSON.stringify(Object.fromEntries(closed))]
  return ['XADD', inbox(to), 'NOMKSTREAM', 'MAXLEN', '~', String(MAX_ANSWERS), '*', ...fields]
}

/** The answer in an entry, or `null` if the entry has none. */
export function parseAnswer ({ fields }: StreamEntry): Answer | null {
  const from = fields.get('from')
  return from === undefined ? null : { from, closed: parseClosed(fields.get('closed')) }
}

/** Drops anything but counts, because other programs can write to Redis too. */
function parseClosed (text: string | undefined): Array<[string, number]> {
  try {
    const closed = Object.entries(Object(JSON.parse(text ?? '')) as Record<string, unknown>)
    return closed.filter((pair): pair is [string, number] => Number.isSafeInteger(pair[1]) && Number(pair[1]) >= 0)
  } catch {
    return []
  }
}
