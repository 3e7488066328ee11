/*
 * The path and the origin that a ticket may be bound to.
 */
import { assertNoMore, readArgument } from '../base/checks'
import { isOrigin } from '../base/grammar'

/** The only handshake that a ticket is good for. */
export interface TicketBinding {
  /** The exact path of the handshake's URL, without its query. Default: any path. */
  readonly path?: string
  /** The exact Origin of the handshake. Default: any Origin, or none. */
  readonly origin?: string
}

/** Reads the binding of a new ticket. @throws TypeError for a wrong binding */
export function readBinding (binding: unknown): TicketBinding {
  const { path, origin, ...rest } = readArgument('options', binding)
  assertNoMore('options', rest, ['path', 'origin', 'kid'])
  if (path !== undefined && !isPath(path)) throw new TypeError('"options.path" must be the path of a URL, without a query')
  if (origin !== undefined && !isOrigin(origin)) throw new TypeError('"options.origin" must be an origin, such as \'https://example.com\'')
  return { path, origin } as TicketBinding
}

function isPath (path: unknown): boolean {
  return typeof path === 'string' && /^\/[^?#]*$/.test(path)
}

/** The binding of a ticket, as it is stored. */
export interface KeptBinding extends TicketBinding {
  /** Whether the app has issued the ticket. Left out if a client has asked for it, and may have chosen the binding. */
  readonly byApp?: true
}

/** A handshake, as far as a ticket can be bound to it. */
export interface BoundUse {
  readonly path: string
  readonly origin: string | undefined
  /** Whether the route has a verifier of its own: then the app itself must have bound the ticket to the path. */
  readonly needsBinding?: boolean
}

/** Why a ticket is not good for a handshake, or `null`. */
export function mismatchOf (binding: KeptBinding, { path, origin, needsBinding }: BoundUse): string | null {
  if (binding.path !== undefined && binding.path !== path) return 'it is bound to another path'
  if (binding.origin !== undefined && binding.origin !== origin) return 'it is bound to another origin'
  if (needsBinding === true && (binding.byApp !== true || binding.path === undefined)) {
    return 'the route has a verifier of its own, and issueTicket did not bind the ticket to its path'
  }
  return null
}
