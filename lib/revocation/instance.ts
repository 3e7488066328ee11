/*
 * This instance among the others of the app: what is revoked or disconnected on one is on all. A command is applied here
 * first and told the others then; what they tell is applied in the same way.
 */
import { hostname } from 'node:os'
import type { FastifyBaseLogger } from 'fastify'
import { ANSWER_TIMEOUT } from '../backplane/contract'
import type { Backplane, BackplaneLink, BackplaneMember, Command, DisconnectKind, InstanceAnswer, RevokeCommand } from '../backplane/contract'
import type { Claims } from '../token/claims'
import { createId } from '../base/id'
import { withDeadline } from '../base/deadline'
import { WsAuthError } from '../base/errors'
import type { CloseKind } from '../base/errors'
import { readDisconnectMatch, readDisconnectOptions, readRevokeMatch, readRevokeOptions } from './command-arguments'
import type { DisconnectMatch, DisconnectOptions, RevokeMatch, RevokeOptions } from './command-arguments'
import { readArgument } from '../base/checks'
import { quietLog } from '../base/quiet-log'
import type { QuietLog } from '../base/quiet-log'
import { Revocations, wasIssuedBy } from '../backplane/revocation-list'

/** What became of a command. */
export interface CommandResult {
  /** How many connections were closed, on all instances that have answered. */
  readonly closed: number
  /** Each live instance, this one first. */
  readonly instances: readonly InstanceAnswer[]
}

/** A connection that a command can close. */
export interface Closable {
  readonly isEnded: boolean
  readonly claims: Claims | null
  /** @param code a close code, or the kind of one that the route may have changed */
  closeFor (reason: 'disconnected' | 'token_revoked', code: CloseKind | number, text?: string): void
}

/** The open connections, as commands find them. */
export interface CommandTarget {
  /** The connections whose claims, or whose id, have this value. */
  find (kind: DisconnectKind, value: string): Iterable<Closable>
}

/** What an instance is made of. */
export interface InstanceParts {
  readonly backplane: Backplane
  readonly connections: CommandTarget
  readonly log: FastifyBaseLogger
  /** How long a revocation is kept by default, in milliseconds. */
  readonly revocationTtl: number
  /** Whether a token without an `exp` is good for ever: not where the app is asked of each. */
  readonly livesWithoutExpiry: boolean
  /** Nobody can vouch for the open connections any more. */
  readonly onOutage: () => void
}

/** How long a backplane may take to tell the others, in milliseconds: somewhat longer than it should. */
const PUBLISH_TIMEOUT = ANSWER_TIMEOUT + 1000

/** One process of the app, or one app of the process. */
export class Instance implements BackplaneMember {
  readonly id = `${hostname()}:${process.pid}:${createId().slice(0, 8)}`
  readonly log: QuietLog
  readonly link: BackplaneLink
  readonly onOutage: () => void
  readonly #connections: CommandTarget
  readonly #revocations = new Revocations()
  readonly #revocationTtl: number
  /** Which tokens are warned of: none any more once one was. */
  #warnsOf: 'all' | 'with exp' | 'none'

  constructor ({ backplane, connections, log, revocationTtl, livesWithoutExpiry, onOutage }: InstanceParts) {
    this.log = quietLog(log)
    this.onOutage = onOutage
    this.#connections = connections
    this.#revocationTtl = revocationTtl
    this.#warnsOf = livesWithoutExpiry ? 'all' : 'with exp'
    this.link = backplane.join(this)
  }

  /** Why tokens of these claims are not to be admitted or kept, or `null`. Without claims it is about nobody in particular. */
  refusalOf (claims: Claims | null): WsAuthError | null {
    if (!this.#isCurrent) return new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: new Error('the backplane cannot say what was revoked') })
    return claims !== null && this.#revocations.isRevoked(claims) ? new WsAuthError('WS_AUTH_TOKEN_REVOKED', { cause: 'its jti, its sid or its sub was revoked' }) : null
  }

  /** Whether tokens of these claims were revoked. @throws WsAuthError `WS_AUTH_UNAVAILABLE`. TypeError where they are no object */
  isRevoked (claims: unknown): boolean {
    const refusal = this.refusalOf(readArgument('claims', claims))
    if (refusal?.code === 'WS_AUTH_UNAVAILABLE') throw refusal
    return refusal !== null
  }

  /** Warns, once, of a token that outlives its revocation: it would be good again. */
  warnOfLongLife ({ claims, expiresAt }: { readonly claims: Claims | null, readonly expiresAt: number | null }): void {
    if (this.#warnsOf === 'none' || claims === null) return
    if (expiresAt === null ? this.#warnsOf !== 'all' : expiresAt <= Date.now() + this.#revocationTtl) return
    this.#warnsOf = 'none'
    const what = expiresAt === null ? 'a token has no exp, and never expires' : 'a token lives longer than revocationTtl'
    this.log.warn(`${what}: if it is revoked, it is good again after revocationTtl (${this.#revocationTtl} ms)`)
  }

  /**
   * Refuses tokens from now on, and closes their connections, on all instances.
   *
   * @throws TypeError for a wrong match or option. WsAuthError `WS_AUTH_UNAVAILABLE` where the others may not get it: here
   *   it is in force all the same
   */
  async revoke (match: RevokeMatch, options?: RevokeOptions): Promise<CommandResult> {
    const { kind, value, beforeAt } = readRevokeMatch(match)
    const untilAt = readRevokeOptions(options, this.#revocationTtl)
    return await this.#command({ type: 'revoke', kind, value, issuedBy: kind === 'sub' ? Math.floor(beforeAt / 1000) : null, untilAt })
  }

  /**
   * Closes connections on all instances. Their tokens stay good.
   *
   * @throws TypeError for a wrong match or option. WsAuthError `WS_AUTH_UNAVAILABLE` where the others may not get it: here
   *   it is done all the same
   */
  async disconnect (match: DisconnectMatch, options?: DisconnectOptions): Promise<CommandResult> {
    return await this.#command({ type: 'disconnect', ...readDisconnectMatch(match), ...readDisconnectOptions(options) })
  }

  /** The logger of the app may throw at each connection that is closed: none of the others is spared for that. */
  apply (command: Command): number {
    if (command.type === 'revoke') this.#revocations.add(command)
    let closed = 0
    for (const connection of this.#connections.find(command.kind, command.value)) {
      try {
        if (closeBy(command, connection)) closed++
      } catch (error) {
        closed++
        this.log.error({ err: error }, 'closing a websocket connection failed')
      }
    }
    return closed
  }

  revocations (): Iterable<RevokeCommand> {
    return this.#revocations
  }

  /** A backplane that fails to say so, or says anything else than yes, cannot. */
  get #isCurrent (): boolean {
    try {
      const isCurrent: unknown = this.link.isCurrent
      return isCurrent === true
    } catch {
      return false
    }
  }

  async #command (command: Command): Promise<CommandResult> {
    const closed = this.apply(command)
    const told = { command: command.type, by: command.kind, value: command.value }
    try {
      const others = await withDeadline(this.link.publish(command), PUBLISH_TIMEOUT, 'telling the other instances')
      const instances = [{ id: this.id, answered: true, closed }, ...others]
      const result = { closed: instances.reduce((sum, { closed }) => sum + (closed ?? 0), 0), instances }
      const silent = others.filter(({ answered }) => !answered)
      if (silent.length === 0) this.log.info({ ...told, closed: result.closed, instances: instances.length }, 'websocket connections were closed')
      else this.log.warn({ ...told, closed: result.closed, instances: instances.length, silent: silent.map(({ id }) => id) }, 'some instances did not answer')
      return result
    } catch (error) {
      this.log.error({ ...told, closed, err: error }, 'the other instances may not get a command')
      throw new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: error })
    }
  }
}

/** Closes a connection that was found by a command's claim, where it is one that the command is about. */
function closeBy (command: Command, connection: Closable): boolean {
  if (connection.isEnded) return false
  if (command.type === 'disconnect') {
    connection.closeFor('disconnected', command.code ?? 'forbidden', command.reason ?? undefined)
    return true
  }
  if (command.issuedBy !== null && !wasIssuedBy(connection.claims as Claims, command.issuedBy)) return false
  connection.closeFor('token_revoked', 'unauthorized')
  return true
}
