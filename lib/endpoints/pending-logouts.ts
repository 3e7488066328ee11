/*
 * The back-channel logouts that are not answered yet. When the server closes they are given a few seconds, because Fastify waits
 * for every open request.
 */

/** How long a pending logout may take after the server began to close, in milliseconds. */
const CLOSING_TIMEOUT = 3000

/** The pending logouts of one route. */
export class PendingLogouts {
  readonly #ends = new Set<() => void>()
  #isClosing = false

  /** Whether the server is closing. */
  get isClosing (): boolean {
    return this.#isClosing
  }

  /** The server begins to close: ends the logouts that are still pending after a while. */
  close (): void {
    this.#isClosing = true
    setTimeout(() => { for (const end of this.#ends) end() }, CLOSING_TIMEOUT).unref()
  }

  /** Runs one logout. The promise rejects, and the controller aborts, if the logout is ended before it settles. */
  async run<T> (logout: (aborter: AbortController) => Promise<T>): Promise<T> {
    const aborter = new AbortController()
    return await new Promise<T>((resolve, reject) => {
      const end = (): void => {
        aborter.abort()
        reject(new Error('the server is closing'))
      }
      this.#ends.add(end)
      void logout(aborter).then(resolve, reject).finally(() => this.#ends.delete(end))
    })
  }
}
