/*
 * A process with the clients of `fleet.ts`. They speak by hand: a library would cost more than the servers. It imports next to
 * nothing, to be there soon.
 */
import { connect } from 'node:net'
import { clientFrame, requestText } from './raw-client'

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

/** One client: resolves to whether it was let in. It answers a close frame, as it should. */
async function openOne (port: number, number: number, token: string): Promise<boolean> {
  const socket = connect({ port, host: '127.0.0.1' })
  return await new Promise((resolve) => {
    let isOpen = false
    let isTold = false
    const tell = (why: string): void => {
      if (!isTold && isOpen) process.send?.({ number, why, at: now() } satisfies Closed)
      isTold = true
    }
    socket.on('error', () => {})
    socket.on('close', () => { if (isOpen) tell('lost'); else resolve(false) })
    socket.write(requestText({ path: '/chat', headers: { authorization: `Bearer ${token}` } }))
    socket.on('data', (chunk) => {
      if (!isOpen) {
        isOpen = chunk.includes('101 Switching Protocols')
        return isOpen ? resolve(true) : socket.destroy()
      }
      if (chunk[0] !== 0x88) return
      tell(`${chunk.readUInt16BE(2)} ${chunk.subarray(4).toString()}`)
      socket.end(clientFrame(8, chunk.subarray(2, 4)))
    })
  })
}

async function obey ({ port, tokens }: Order): Promise<void> {
  let begun = 0
  const openMany = async (): Promise<void> => {
    for (let next = tokens[begun++]; next !== undefined; next = tokens[begun++]) process.send?.(await openOne(port, next.number, next.token))
  }
  await Promise.all(Array.from({ length: AT_ONCE }, openMany))
}

if (require.main === module) process.on('message', (order: Order) => { void obey(order) })
