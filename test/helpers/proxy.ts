/*
 * A network between a client and its server that the test can cut, or have say nothing.
 */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, NetConnectOpts, Socket } from 'node:net'

/** What stands between a client and its server, and can be cut. */
export interface Proxy {
  readonly port: number
  /** Ends all connections, and takes no new ones. */
  cut: () => void
  /** Says nothing any more, without ending a connection: what a lost network looks like. */
  freeze: () => void
  /** Does so to the connections of now, and passes on those of later: a device that went from one network to another. */
  lose: () => void
  restore: () => void
}

/** Puts a proxy before a server: clients connect to it with `{ host: '127.0.0.1', port }`. */
export async function startProxy (t: { teardown (end: () => unknown): void }, target: NetConnectOpts): Promise<Proxy> {
  const open = new Set<Socket>()
  let state: 'open' | 'cut' | 'frozen' = 'open'
  const server = createServer((client) => {
    if (state === 'cut') return client.destroy()
    const upstream = connect(target)
    for (const [one, other] of [[client, upstream], [upstream, client]] as const) {
      open.add(one)
      one.on('error', () => {})
      one.on('close', () => { open.delete(one); other.destroy() })
      one.pipe(other)
      if (state === 'frozen') one.pause()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const set = (next: typeof state): void => {
    state = next
    for (const socket of open) {
      if (next === 'cut') socket.destroy()
      else if (next === 'frozen') socket.pause()
      else socket.resume()
    }
  }
  t.teardown(() => { set('cut'); server.close() })
  return {
    port: (server.address() as AddressInfo).port,
    cut: () => set('cut'),
    freeze: () => set('frozen'),
    lose: () => { for (const socket of open) socket.unpipe().pause() },
    restore: () => set('open')
  }
}
