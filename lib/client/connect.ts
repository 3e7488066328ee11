/*
 * `connect()`: the client of a page or a process.
 */
import { LastingSocket } from './auth-socket'
import type { Address } from './auth-socket'
import { completeOptions } from './settings'
import type { AuthSocket, ConnectOptions } from './types'

const TYPES = { retry: 'o', shouldReconnect: 'f', queue: 'n', page: 'b', signal: 'o' }

/**
 * Opens a socket that lasts: it gets the token, renews it, comes back after failures, and stops if it is refused.
 *
 * It asks for nothing before the next microtask. On a server that renders pages, call it in an effect.
 *
 * @param address the address, or a function that returns it before each handshake. `http` counts as `ws`; a path is that of the page's server
 * @throws TypeError for a wrong option
 */
export function connect (address: Address, options: ConnectOptions = {}): AuthSocket {
  return new LastingSocket(completeOptions(options, TYPES), address, options)
}
