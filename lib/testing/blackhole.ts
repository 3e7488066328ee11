/*
 * A network that can be lost: a TCP proxy that stops passing bytes in both directions and tells neither side, as a cable that is pulled
 * out does. No FIN and no RST is passed on meanwhile.
 */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { hostOf } from './app'
import type { AnyApp } from './app'

/** A way to a server that can be lost. */
export interface Blackhole {
  /** As that of the server, with the port of the proxy: `ws://127.0.0.1:<port>`, or `wss:` if the server speaks TLS. */
  readonly url: string
  readonly port: number
  /** Whether bytes are held back. */
  readonly isHeld: boolean
  /** Holds back all bytes from now on. A new connection is taken, and nothing answers it. */
  hold (): void
  /** Passes all bytes on: first those that were held back. */
  pass (): void
  /** Resets all connections, and takes no new one. */
  close (): Promise<void>
  [Symbol.asyncDispose] (): Promise<void>
}

/**
 * Starts a proxy before a server on a free port of 127.0.0.1. It finds the port of an app anew for each connection, so that the app may listen later.
 *
 * @param target an app that listens, its URL, or its port on 127.0.0.1
 */
export async function blackhole (target: AnyApp | string | URL | number): Promise<Blackhole> {
  const { protocol } = hostOf(target)
  const links = new Set<Link>()
  let isHeld = false
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const { hostname, port } = hostOf(target)
    const link = new Link(client, connect({ host: hostname, port, allowHalfOpen: true, noDelay: true }), () => links.delete(link))
    links.add(link)
    link.hold(isHeld)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const setHeld = (next: boolean): void => {
    isHeld = next
    for (const link of links) link.hold(next)
  }
  const close = async (): Promise<void> => {
    for (const link of links) link.destroy()
    if (server.listening) await new Promise((resolve) => server.close(resolve))
  }
  return {
    url: `${protocol}//127.0.0.1:${port}`,
    port,
    get isHeld () { return isHeld },
    hold: () => setHeld(true),
    pass: () => setHeld(false),
    close,
    [Symbol.asyncDispose]: close
  }
}

/** A connection of a client, and the one to the server behind it. */
class Link {
  readonly #sides: readonly [Socket, Socket]
  readonly #onGone: () => void
  #isHeld = false

  constructor (client: Socket, server: Socket, onGone: () => void) {
    this.#sides = [client, server]
    this.#onGone = onGone
    this.#pass(client, server)
    this.#pass(server, client)
  }

  hold (isHeld: boolean): void {
    this.#isHeld = isHeld
    for (const side of this.#sides) {
      if (isHeld) side.pause()
      else side.resume()
    }
    this.#onClose()
  }

  destroy (): void {
    for (const side of this.#sides) side.resetAndDestroy()
  }

  /** By hand, because a pipe would resume a stream that was paused. */
  #pass (from: Socket, to: Socket): void {
    from.on('data', (chunk) => { if (!to.write(chunk)) from.pause() })
    to.on('drain', () => { if (!this.#isHeld) from.resume() })
    from.on('end', () => to.end())
    from.on('error', () => {})
    from.on('close', () => this.#onClose())
  }

  /** Ends the other side too. While bytes are held back it is not told, so that is done later. */
  #onClose (): void {
    if (this.#isHeld || !this.#sides.some(({ destroyed }) => destroyed)) return
    const isReset = this.#sides.some(({ errored }) => errored !== null)
    for (const side of this.#sides) {
      if (isReset) side.resetAndDestroy()
      else side.destroySoon()
    }
    this.#onGone()
  }
}
