/*
 * A process with the clients of `fleet.ts`.
 */
import { openClosing } from './closing-client'

/** How many handshakes a process has under way at once. */
const AT_ONCE = 100

/** One that was closed: its token's number, by `<code> <reason>`, when (ms). */
export interface Closed {
  readonly number: number
  readonly why: string
  readonly at: number
}

/** What is to be opened. */
export interface Order {
  readonly port: number
  readonly tokens: ReadonlyArray<{ readonly number: number, readonly token: string }>
}

/** Milliseconds, by a clock that all processes of the machine share. */
export function now (): number {
  return Number(process.hrtime.bigint()) / 1e6
}

async function openOne (port: number, { number, token }: Order['tokens'][number]): Promise<boolean> {
  return await openClosing(port, token, { onTold: (why) => process.send?.({ number, why, at: now() } satisfies Closed) })
}

async function obey ({ port, tokens }: Order): Promise<void> {
  let begun = 0
  const openMany = async (): Promise<void> => {
    for (let next = tokens[begun++]; next !== undefined; next = tokens[begun++]) process.send?.(await openOne(port, next))
  }
  await Promise.all(Array.from({ length: AT_ONCE }, openMany))
}

if (require.main === module) process.on('message', (order: Order) => { void obey(order) })
