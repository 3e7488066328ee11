/*
 * The requests of a route that are not answered yet: logouts and security events. When the server closes they are given a few seconds, because Fastify waits
 * for every open request.
 */

/** How long a pending request may take after the server began to close, in milliseconds. */
const CLOSING_TIMEOUT = 3000

/** The pending requests of one route. */
export class PendingRequests {
  readonly #ends = new Set<() => void>()
  #isClosing = false

  /** Whether the server is closing. */
  get isClosing (): boolean {
    return this.#isClosing
  }

  /** The server begins to close: ends the requests that are still pending after a while. */
  close (): void {
    this.#isClosing = true
    setTimeout(() => { for (const end of this.#ends) end() }, CLOSING_TIMEOUT).unref()
  }

  /** Handles one request. The promise rejects, and the controller aborts, if the request is ended before that settles. */
  async run<T> (handle: (aborter: AbortController) => Promise<T>): Promise<T> {
    const aborter = new AbortController()
    return await new Promise<T>((resolve, reject) => {
      const end = (): void => {
        aborter.abort()
        reject(new Error('the server is closing'))
      }
      this.#ends.add(end)
      void handle(aborter).then(resolve, reject).finally(() => this.#ends.delete(end))
    })
  }
}
