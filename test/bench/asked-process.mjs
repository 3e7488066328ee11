// @ts-check
/*
 * A child process that is asked one thing at a time, and does not outlive what it is asked for: each question has its time, and a child
 * that does not end by itself is ended.
 */
import { once } from 'node:events'

/** How long an answer may take, in milliseconds. */
const ANSWER_TIMEOUT = 120_000
/** How long a child may take to end when its parent has left it, in milliseconds. */
const EXIT_TIMEOUT = 10_000

/** The parent's side: the child answers each message `{ command, argument }` with `{ answer }` or `{ error }`, and ends with its channel. */
export class AskedProcess {
  /** @type {import('node:child_process').ChildProcess} */
  #child

  /** @param {import('node:child_process').ChildProcess} child */
  constructor (child) {
    this.#child = child
  }

  /**
   * @param {string} command
   * @param {unknown} argument
   * @param {number} timeout in milliseconds
   * @returns {Promise<any>}
   */
  async ask (command, argument = null, timeout = ANSWER_TIMEOUT) {
    const listening = new AbortController()
    const { signal } = listening
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), timeout)
    this.#child.send({ command, argument })
    const [{ answer, error }] = await Promise.race([
      once(this.#child, 'message', { signal }),
      once(this.#child, 'exit', { signal }).then(([code, by]) => { throw new Error(`the process ended with ${code ?? by} while it was asked to ${command}`) })
    ]).finally(() => {
      clearTimeout(timer)
      listening.abort()
    })
    if (error !== undefined) throw new Error(`the process says: ${error}`)
    return answer
  }

  async stop () {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), EXIT_TIMEOUT)
    if (this.#child.connected) this.#child.disconnect()
    await exited
    clearTimeout(timer)
  }
}

/**
 * The child's side.
 *
 * @param {Record<string, (argument: any) => unknown>} commands
 */
export function answerParent (commands) {
  process.on('message', async (/** @type {{ command: string, argument: any }} */ { command, argument }) => {
    try {
      process.send?.({ answer: await commands[command]?.(argument) })
    } catch (error) {
      process.send?.({ error: String(/** @type {Error} */ (error).stack) })
    }
  })
  process.on('disconnect', () => process.exit())
}
