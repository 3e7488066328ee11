/*
 * One instance of the app: a command is applied on this instance first, and then sent to the others. The commands of the others are
 * applied in the same way.
 */
import { hostname } from 'node:os'
import type { FastifyBaseLogger } from 'fastify'
import { ANSWER_TIMEOUT, matchOf } from '../backplane/contract'
import type { Backplane, BackplaneLink, BackplaneMember, Command, DisconnectKind, InstanceAnswer, RevokeCommand } from '../backplane/contract'
import type { Claims } from '../token/claims'
import { createId } from '../base/id'
import { withDeadline } from '../base/deadline'
import { WsAuthError } from '../base/errors'
import type { CloseDecision, CloseOrder } from '../base/close-codes'
import { readDisconnectMatch, readDisconnectOptions, readRevokeMatch, readRevokeOptions } from './command-arguments'
import type { DisconnectMatch, DisconnectOptions, RevokeMatch, RevokeOptions } from './command-arguments'
import { quietLog } from '../base/quiet-log'
import type { QuietLog } from '../base/quiet-log'
import { wasIssuedBy } from '../backplane/revocation-list'
import type { RevocationList } from '../backplane/revocation-list'

/** The result of a command. */
export interface CommandResult {
  /** How many connections were closed, on all instances that answered. */
  readonly closed: number
  /** The answer of each live instance, this one first. */
  readonly instances: readonly InstanceAnswer[]
}

/** The open connections of an app, as its instance closes them. */
export interface CommandTarget {
  /**
   * Closes the connections whose claims, or whose id, have this value. Never throws.
   *
   * @param within how long that may take, in milliseconds. Default 0: the decision is in force on all of them when this returns
   * @param isMeant whether a connection of these claims is to be closed. Default: all are
   * @returns how many connections are, or will be, closed
   */
  close (kind: DisconnectKind, value: string, decision: CloseDecision, within?: number, isMeant?: (claims: Claims | null) => boolean): number
  /**
   * Closes all connections with `auth_unavailable`, because it is not known which of them were revoked.
   *
   * @param within over how many milliseconds the closes are spread
   * @param isNeeded asked before each close that waits for its turn
   */
  closeAll (within: number, isNeeded: () => boolean): void
}

/** The objects and options that an instance works with. */
export interface InstanceDependencies {
  readonly backplane: Backplane
  readonly connections: CommandTarget
  readonly revocations: RevocationList
  readonly log: FastifyBaseLogger
  /** How long a revocation is kept by default, in milliseconds. */
  readonly revocationTtl: number
  /** Whether the app has the `groups` option. Default false. */
  readonly hasGroups?: boolean
}

/** How long a backplane may take to send a command, in milliseconds: longer than the contract permits. */
const PUBLISH_TIMEOUT = ANSWER_TIMEOUT + 1000

/** One instance: an app in a process. A process can have several. */
export class Instance implements BackplaneMember {
  readonly id = `${hostname()}:${process.pid}:${createId().slice(0, 8)}`
  readonly log: QuietLog
  readonly link: BackplaneLink
  readonly #connections: CommandTarget
  readonly #revocations: RevocationList
  readonly #revocationTtl: number
  readonly #hasGroups: boolean

  constructor ({ backplane, connections, revocations, log, revocationTtl, hasGroups = false }: InstanceDependencies) {
    this.log = quietLog(log)
    this.#connections = connections
    this.#revocations = revocations
    this.#revocationTtl = revocationTtl
    this.#hasGroups = hasGroups
    this.link = backplane.join(this)
  }

  /**
   * Revokes tokens: refuses them from now on, and closes their connections, on all instances.
   *
   * @throws TypeError if the match or an option is wrong; WsAuthError `WS_AUTH_UNAVAILABLE` if the other instances may not receive
   *   the command. It is in force on this instance then
   */
  async revoke (match: RevokeMatch, options?: RevokeOptions): Promise<CommandResult> {
    const { kind, value, beforeAt } = readRevokeMatch(match)
    this.#assertGroups(kind)
    const issuedBy = beforeAt === null ? null : Math.floor(beforeAt / 1000)
    return await this.#command({ type: 'revoke', kind, value, issuedBy, ...readRevokeOptions(options, this.#revocationTtl) })
  }

  /**
   * Closes connections on all instances. Their tokens stay valid.
   *
   * @throws TypeError if the match or an option is wrong; WsAuthError `WS_AUTH_UNAVAILABLE` if the other instances may not receive
   *   the command. The connections of this instance are closed then
   */
  async disconnect (match: DisconnectMatch, options?: DisconnectOptions): Promise<CommandResult> {
    const target = readDisconnectMatch(match)
    this.#assertGroups(target.kind)
    return await this.#command({ type: 'disconnect', ...target, ...readDisconnectOptions(options) })
  }

  /** Without the option no connection is in a group: a log out would seem to succeed. */
  #assertGroups (kind: DisconnectKind): void {
    if (kind === 'group' && !this.#hasGroups) throw new TypeError('"match.group" needs the "groups" option, which reads the groups of a token')
  }

  apply (command: Command): number {
    const { kind, value } = command
    const order = orderOf(command)
    if (command.type === 'disconnect') {
      const { code, reason, within } = command
      return this.#connections.close(kind, value, { reason: 'disconnected', code: code ?? 'forbidden', text: reason ?? 'disconnected', order }, within)
    }
    const { issuedBy } = command
    this.#revocations.add(command)
    // An anonymous connection has no token.
    const isMeant = (claims: Claims | null): boolean => claims !== null && (issuedBy === null || wasIssuedBy(claims, issuedBy))
    return this.#connections.close(kind, value, { reason: 'token_revoked', code: 'unauthorized', order }, 0, isMeant)
  }

  revocations (): Iterable<RevokeCommand> {
    return this.#revocations
  }

  onOutage (within = 0): void {
    this.#connections.closeAll(within, () => !this.link.isCurrent)
  }

  async #command (command: Command): Promise<CommandResult> {
    const closed = this.apply(command)
    const summary = { command: command.type, ...orderOf(command) }
    try {
      const others = await withDeadline(this.link.publish(command), PUBLISH_TIMEOUT, 'sending a command to the other instances')
      const instances = [{ id: this.id, answered: true, closed }, ...others]
      const result = { closed: instances.reduce((sum, { closed }) => sum + (closed ?? 0), 0), instances }
      const silent = others.filter(({ answered }) => !answered)
      if (silent.length === 0) this.log.info({ ...summary, closed: result.closed, instances: instances.length }, messageOf(command, result.closed))
      else this.log.warn({ ...summary, closed: result.closed, instances: instances.length, silent: silent.map(({ id }) => id) }, 'some instances did not answer')
      return result
    } catch (error) {
      this.log.error({ ...summary, closed, err: error }, 'the other instances may not receive a command')
      throw new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: error })
    }
  }
}

function messageOf ({ type }: Command, closed: number): string {
  if (type === 'disconnect') return closed === 0 ? 'no websocket connection was open to be closed' : 'websocket connections were closed'
  return closed === 0 ? 'tokens were revoked, and no websocket connection of theirs was open' : 'tokens were revoked, and their websocket connections were closed'
}

/** For events and for the log. */
function orderOf (command: Command): CloseOrder {
  return { match: matchOf(command), by: command.by ?? null, why: command.why ?? null }
}
