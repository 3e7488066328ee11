/*
 * Commands of this instance that others are to answer, and what they have answered. An answer is an entry in the stream of
 * who has asked: it waits there if the connection is lost.
 */
import type { InstanceAnswer } from '../backplane'
import type { StreamEntry } from './replies'

/** A command that is answered. */
interface Question {
  readonly closed: Map<string, number>
  /** Looks whether all have answered. */
  onAnswer: () => void
  /** Waits no longer. */
  onClose: () => void
}

/** How often is looked whether who has not answered still lives, in milliseconds. */
const LOOK_INTERVAL = 500

/** The fields of an answer: how many connections were closed by each command, by its uid. */
export function answerFields (from: string, closed: ReadonlyMap<string, number>): string[] {
  return ['from', from, 'closed', JSON.stringify(Object.fromEntries(closed))]
}

/** The open questions of an instance. */
export class Questions {
  readonly #open = new Map<string, Question>()

  /** A command is about to be told of: answers may come from now on. */
  begin (uid: string): void {
    this.#open.set(uid, { closed: new Map(), onAnswer: () => {}, onClose: () => {} })
  }

  /** Nobody is interested in answers any more. */
  end (uid: string): void {
    this.#open.delete(uid)
  }

  /** Waits for no answers any more. */
  close (): void {
    for (const { onClose } of this.#open.values()) onClose()
  }

  /** Reads answers. */
  take (entries: readonly StreamEntry[]): void {
    for (const { fields } of entries) {
      const from = fields.get('from')
      if (from === undefined) continue
      for (const [uid, closed] of readClosed(fields.get('closed'))) {
        const question = this.#open.get(uid)
        if (question === undefined) continue
        // One that comes twice is of a command that came twice: nothing was left to close.
        question.closed.set(from, Math.max(closed, question.closed.get(from) ?? 0))
        question.onAnswer()
      }
    }
  }

  /**
   * Waits for answers.
   *
   * @param ids of the instances that are to answer
   * @param until when at the latest, on the monotonic clock
   * @param readLiving asks which of them still live
   */
  async answers (uid: string, ids: readonly string[], until: number, readLiving: () => Promise<readonly string[]>): Promise<InstanceAnswer[]> {
    const question = this.#open.get(uid) as Question
    let awaited = ids
    const isAnswered = (): boolean => awaited.every((id) => question.closed.has(id))
    if (!isAnswered()) {
      await new Promise<void>((resolve) => {
        const end = setTimeout(settle, Math.max(until - performance.now(), 0)).unref()
        const looking = setInterval(() => {
          readLiving().then((living) => {
            awaited = awaited.filter((id) => question.closed.has(id) || living.includes(id))
            question.onAnswer()
          }, () => {})
        }, LOOK_INTERVAL).unref()
        function settle (): void {
          clearTimeout(end)
          clearInterval(looking)
          resolve()
        }
        question.onAnswer = () => { if (isAnswered()) settle() }
        question.onClose = settle
      })
    }
    return awaited.map((id) => ({ id, answered: question.closed.has(id), closed: question.closed.get(id) ?? null }))
  }
}

/** Whoever can write into Redis can put anything there. */
function readClosed (text: string | undefined): Array<[string, number]> {
  try {
    const closed = Object.entries(Object(JSON.parse(text ?? '')) as Record<string, unknown>)
    return closed.filter((pair): pair is [string, number] => Number.isSafeInteger(pair[1]) && Number(pair[1]) >= 0)
  } catch {
    return []
  }
}
