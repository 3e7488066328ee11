/*
 * A backplane in memory. It is the default, for one app; several apps of one process that share it are instances of each other.
 */
import type { Backplane, BackplaneLink, BackplaneMember, Command, InstanceAnswer } from './contract'
import { MemorySlots } from './memory-leases'
import { RevocationList } from './revocation-list'

/** After how many additions the expired values are removed. */
const PRUNE_AFTER = 1000

/** Creates a backplane within this process. Its revocations and tickets are lost when the process ends. */
export function memoryBackplane (): Backplane {
  return new MemoryBackplane()
}

/** Whether a backplane is one of {@link memoryBackplane}. */
export function isMemoryBackplane (backplane: Backplane): boolean {
  return backplane instanceof MemoryBackplane
}

interface KeptValue {
  readonly value: string
  readonly untilAt: number
}

class MemoryBackplane implements Backplane {
  readonly #members = new Set<BackplaneMember>()
  readonly #revocations = new RevocationList()
  readonly #values = new Map<string, KeptValue>()
  readonly #slots = new MemorySlots()
  #added = 0

  join (member: BackplaneMember): BackplaneLink {
    this.#members.add(member)
    for (const revocation of this.#revocations) member.apply(revocation)
    const members = this.#members
    return {
      ready: Promise.resolve(),
      isCurrent: true,
      get health () { return { age: null, instances: members.size, lastError: null } },
      publish: async (command) => this.#publish(command, member),
      put: (name, value, ttl) => this.#put(name, value, ttl),
      get: (name) => this.#get(name),
      take: (name) => {
        const value = this.#get(name)
        this.#values.delete(name)
        return value
      },
      leases: (rules) => this.#slots.open(rules),
      leave: async () => { this.#members.delete(member) }
    }
  }

  #publish (command: Command, from: BackplaneMember): InstanceAnswer[] {
    if (command.type === 'revoke') this.#revocations.add(command)
    const others = [...this.#members].filter((member) => member !== from)
    return others.map((member) => ({ id: member.id, answered: true, closed: member.apply(command) }))
  }

  #put (name: string, value: string, ttl: number): boolean {
    if (this.#get(name) !== null) return false
    if (++this.#added % PRUNE_AFTER === 0) this.#prune()
    this.#values.set(name, { value, untilAt: performance.now() + ttl })
    return true
  }

  #get (name: string): string | null {
    const kept = this.#values.get(name)
    return kept === undefined || kept.untilAt <= performance.now() ? null : kept.value
  }

  #prune (): void {
    const now = performance.now()
    for (const [name, { untilAt }] of this.#values) {
      if (untilAt <= now) this.#values.delete(name)
    }
  }
}
