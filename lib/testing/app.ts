/*
 * An app of any kind, and where it listens.
 */
import type { AddressInfo, Server } from 'node:net'

/** A Fastify app, whatever the types of its server, its logger and its type provider. */
export interface AnyApp {
  readonly server: Server
  ready (): PromiseLike<unknown>
  close (): PromiseLike<unknown>
  listen (options: { port: number, host: string }): PromiseLike<string>
}

/** Where a server listens. */
export interface Host {
  readonly protocol: 'ws:' | 'wss:'
  readonly hostname: string
  readonly port: number
}

/** @param target an app, a URL, or a port of 127.0.0.1 @throws TypeError if it is none of these, and for an app that does not listen */
export function hostOf (target: AnyApp | string | URL | number): Host {
  if (typeof target === 'number') return { protocol: 'ws:', hostname: '127.0.0.1', port: target }
  if (typeof target === 'string' || target instanceof URL) return hostOfUrl(new URL(target))
  const address = Object(target).server?.address?.() as AddressInfo | null | undefined
  if (typeof address?.port !== 'number') throw new TypeError('"target" must be an app that listens, or a URL, or a port')
  const isAny = ['::', '0.0.0.0'].includes(address.address)
  return { protocol: 'getTicketKeys' in target.server ? 'wss:' : 'ws:', hostname: isAny ? '127.0.0.1' : address.address, port: address.port }
}

function hostOfUrl ({ protocol, hostname, port }: URL): Host {
  const isSecure = protocol === 'https:' || protocol === 'wss:'
  return { protocol: isSecure ? 'wss:' : 'ws:', hostname: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? isSecure ? 443 : 80 : Number(port) }
}
