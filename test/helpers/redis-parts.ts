/*
 * The parts of a backplane by Redis, one at a time: connections that a test holds up, and members that write down what they are told.
 */
import Fastify from 'fastify'
import type { BackplaneMember, Command, RevokeCommand } from '../../lib/backplane/contract'
import { createId } from '../../lib/base/id'
import type { RedisConnection } from '../../lib/backplane/redis/client/connection'
import { RevocationList } from '../../lib/backplane/revocation-list'

/** How long anything may take, in milliseconds of turns. */
export const TIMEOUT = 60_000

/** What is done with a command instead of sending it. */
export type Way = (command: readonly string[], send: () => Promise<unknown>) => Promise<unknown>

export function by<C extends RedisConnection> (connection: C, way: Way): C {
  return { ...connection, send: async (command: readonly string[]) => await way(command, async () => await connection.send(command)) }
}

/** A gate that is shut until it is opened. */
export class Gate {
  isReached = false
  open: () => void = () => {}
  fail: (error: Error) => void = () => {}
  readonly #opened = new Promise<void>((resolve, reject) => {
    this.open = resolve
    this.fail = reject
  })

  constructor () {
    this.#opened.catch(() => {})
  }

  async pass (): Promise<void> {
    this.isReached = true
    await this.#opened
  }
}

/** An instance that writes down what it is told, and what it says. */
export class Listener implements BackplaneMember {
  readonly id = createId()
  readonly known = new RevocationList()
  readonly applied: Command[] = []
  readonly told: string[] = []
  readonly log = Fastify({ logger: { level: 'info', stream: { write: (line: string) => { this.told.push((JSON.parse(line) as { msg: string }).msg) } } } }).log
  outages = 0

  apply (command: Command): number {
    this.applied.push(command)
    if (command.type === 'revoke') this.known.add(command)
    return 1
  }

  revocations (): Iterable<RevokeCommand> { return this.known }
  onOutage (): void { this.outages++ }

  get values (): string[] { return this.applied.map(({ value }) => value) }
}

export const revoke = (value: string): RevokeCommand => ({ type: 'revoke', kind: 'jti', value, issuedBy: null, untilAt: 4e12 })
export const disconnect = (value: string): Command => ({ type: 'disconnect', kind: 'sub', value, code: null, reason: null })
