/*
 * The requests of a route that are not answered yet: logouts and security events. When the server closes they are given a few seconds, because Fastify waits
 * for every open request.
 */

/** How long a pending request may take after the server began to close, in milliseconds. */
const CLOSING_TIMEOUT = 3000

/** The pending requests of one route. */
export class PendingRequests {
  readonly #ends = new Set<() => void>()
  readonly #max: number
  #isClosing = false

  /** @param max how many may be pending. The route is open to any client, and each request verifies a token */
  constructor (max: number) {
    this.#max = max
  }

  /** Whether the server is closing. */
  get isClosing (): boolean {
    return this.#isClosing
  }

  /** The server begins to close: ends the requests that are still pending after a while. */
  close (): void {
    this.#isClosing = true
    setTimeout(() => { for (const end of this.#ends) end() }, CLOSING_TIMEOUT).unref()
  }

  /** Handles one request. The promise rejects, and the controller aborts, if the request is ended before that settles. It rejects at once if there are too many. */
  async run<T> (handle: (aborter: AbortController) => Promise<T>): Promise<T> {
    if (this.#ends.size >= this.#max) throw new Error('too many requests of this route are pending')
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
