/*
 * The commands of this instance that other instances have not answered yet.
 */
import type { InstanceAnswer } from '../contract'
import { parseAnswer } from './answer-stream'
import type { StreamEntry } from './client/replies'

/** How often a pending command checks that the instances it waits for are alive, in milliseconds. */
const CHECK_INTERVAL = 500

/** The pending commands of an instance. */
export class PendingAnswers {
  readonly #pending = new Map<string, PendingCommand>()

  /** Expects answers to a command. Call it before the command is sent, because an answer may come at once. */
  begin (uid: string): PendingCommand {
    const pending = new PendingCommand()
    this.#pending.set(uid, pending)
    return pending
  }

  /** Ignores further answers to a command. */
  end (uid: string): void {
    this.#pending.delete(uid)
  }

  /** Stops waiting for all commands. */
  close (): void {
    for (const pending of this.#pending.values()) pending.close()
  }

  /** Takes the answers from entries of the stream. */
  take (entries: readonly StreamEntry[]): void {
    for (const entry of entries) {
      const answer = parseAnswer(entry)
      if (answer === null) continue
      for (const [uid, closed] of answer.closed) this.#pending.get(uid)?.take(answer.from, closed)
    }
  }
}

/** A command that waits for answers. */
class PendingCommand {
  /** How many connections each instance closed, by the id of the instance. */
  readonly #closed = new Map<string, number>()
  #awaited: readonly string[] = []
  #isClosed = false
  #settle = (): void => {}

  /** The larger count stands if an instance answers twice: it applied the command twice, and the second time found nothing to close. */
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
   * @param ids the instances that are expected to answer
   * @param until the deadline, on the monotonic clock
   * @param readLiving reads the ids of the live instances
   */
  async answers (ids: readonly string[], until: number, readLiving: () => Promise<readonly string[]>): Promise<InstanceAnswer[]> {
    this.#awaited = ids
    const settled = new Promise<void>((resolve) => { this.#settle = resolve })
    const deadline = setTimeout(this.#settle, Math.max(until - performance.now(), 0)).unref()
    const check = setInterval(() => { void this.#forgetGone(readLiving) }, CHECK_INTERVAL).unref()
    if (!this.#isOver) await settled
    clearTimeout(deadline)
    clearInterval(check)
    return this.#awaited.map((id) => ({ id, answered: this.#closed.has(id), closed: this.#closed.get(id) ?? null }))
  }

  /** Waits no longer for instances that have left. */
  async #forgetGone (readLiving: () => Promise<readonly string[]>): Promise<void> {
    const living = await readLiving().catch(() => this.#awaited)
    this.#awaited = this.#awaited.filter((id) => this.#closed.has(id) || living.includes(id))
    if (this.#isOver) this.#settle()
  }

  get #isOver (): boolean {
    return this.#isClosed || this.#awaited.every((id) => this.#closed.has(id))
  }
}
