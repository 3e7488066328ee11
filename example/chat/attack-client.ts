/*
 * The client of the attacks: it chooses its headers, and says in words how its connection is.
 */
import { once } from 'node:events'
import { WebSocket } from 'ws'

/** How long an answer may take, in milliseconds. */
const TIMEOUT = 60_000

export class AttackClient {
  readonly #socket: WebSocket
  /** How the connection is: `open`, or how it was refused or closed. */
  state = 'connecting'

  private constructor (url: string, headers: Record<string, string>) {
    this.#socket = new WebSocket(url, { headers, handshakeTimeout: TIMEOUT })
    this.#socket.on('close', (code, reason) => { if (!this.state.startsWith('refused')) this.state = `closed with ${code} ${String(reason)}`.trim() })
    this.#socket.on('error', ({ message }) => { this.state = `refused with ${message.replace('Unexpected server response: ', '')}` })
  }

  /** Resolves when the server has greeted, refused or closed. */
  static async connect (url: string, headers: Record<string, string> = {}): Promise<AttackClient> {
    const client = new AttackClient(url, headers)
    if (await client.#answer() !== null) client.state = 'open'
    return client
  }

  get isOpen (): boolean { return this.state === 'open' }

  /** What the server answers, or `null` if the connection is closed or closes. */
  async say (text: string): Promise<string | null> {
    if (!this.isOpen) return null
    this.#socket.send(text)
    return await this.#answer()
  }

  end (): void {
    const { state } = this
    this.#socket.terminate()
    this.#socket.once('close', () => { this.state = state })
  }

  async #answer (): Promise<string | null> {
    const signal = AbortSignal.timeout(TIMEOUT)
    const closed = once(this.#socket, 'close', { signal }).then(() => null)
    const answered = once(this.#socket, 'message', { signal }).then(([data]) => String(data))
    return await Promise.race([answered, closed]).catch(() => null)
  }
}
