/*
 * Commands of this instance that others are to answer, and what they have answered. An answer is an entry in the stream of
 * who has asked: it waits there if the connection is lost.
 */
import type { InstanceAnswer } from '../contract'
import type { StreamEntry } from './client/replies'

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
  begin (uid: string): Question {
    const question = new Question()
    this.#open.set(uid, question)
    return question
  }

  /** Nobody is interested in answers any more. */
  end (uid: string): void {
    this.#open.delete(uid)
  }

  /** Waits for no answers any more. */
  close (): void {
    for (const question of this.#open.values()) question.close()
  }

  /** Reads answers. */
  take (entries: readonly StreamEntry[]): void {
    for (const { fields } of entries) {
      const from = fields.get('from')
      if (from === undefined) continue
      for (const [uid, closed] of readClosed(fields.get('closed'))) this.#open.get(uid)?.take(from, closed)
    }
  }
}

/** A command that is answered. */
class Question {
  /** How many connections each instance has closed. */
  readonly #closed = new Map<string, number>()
  #awaited: readonly string[] = []
  #isClosed = false
  #settle = (): void => {}

  /** One that comes twice is of a command that came twice: nothing was left to close. */
  take (from: string, closed: number): void {
    this.#closed.set(from, Math.max(closed, this.#closed.get(from) ?? 0))
    if (this.#isOver) this.#settle()
  }

  close (): void {
    this.#isClosed = true
    this.#settle()
  }

  /**
   * Waits for answers.
   *
   * @param ids of the instances that are to answer
   * @param until when at the latest, on the monotonic clock
   * @param readLiving asks which of them still live
   */
  async answers (ids: readonly string[], until: number, readLiving: () => Promise<readonly string[]>): Promise<InstanceAnswer[]> {
    this.#awaited = ids
    const settled = new Promise<void>((resolve) => { this.#settle = resolve })
    const end = setTimeout(this.#settle, Math.max(until - performance.now(), 0)).unref()
    const looking = setInterval(() => { void this.#forgetGone(readLiving) }, LOOK_INTERVAL).unref()
    if (!this.#isOver) await settled
    clearTimeout(end)
    clearInterval(looking)
    return this.#awaited.map((id) => ({ id, answered: this.#closed.has(id), closed: this.#closed.get(id) ?? null }))
  }

  /** Whoever has left will not answer. */
  async #forgetGone (readLiving: () => Promise<readonly string[]>): Promise<void> {
    const living = await readLiving().catch(() => this.#awaited)
    this.#awaited = this.#awaited.filter((id) => this.#closed.has(id) || living.includes(id))
    if (this.#isOver) this.#settle()
  }

  get #isOver (): boolean {
    return this.#isClosed || this.#awaited.every((id) => this.#closed.has(id))
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
