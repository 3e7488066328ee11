/*
 * A socket of `connect()` with the library ws, and all that happened to it.
 */
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { connect } from '../../lib/client/index'
import type { Ask, AuthSocket, ConnectOptions, CredentialRequest, State, WebSocketLike } from '../../lib/client/index'
import { within } from './app'

export interface WatchedSocket {
  readonly socket: AuthSocket
  /** The calls for a token, in order. */
  readonly calls: CredentialRequest[]
  readonly states: State[]
  /** `open`, `message <data>`, `error <reason>` and `close <code> <reason>`. */
  readonly events: string[]
  /** How many handshakes were sent. */
  readonly handshakes: () => number
  /** The first state of this status, from that of the index on. It waits for it. */
  readonly next: <S extends State['status']>(status: S, from?: number) => Promise<State & { readonly status: S }>
}

/** Connects, and closes when the test ends. @param token the function for the token; `null` for none */
export function watch (t: Pick<Test, 'teardown'>, url: string, token: Ask | null, options: ConnectOptions = {}): WatchedSocket {
  const calls: CredentialRequest[] = []
  const states: State[] = []
  const events: string[] = []
  let handshakes = 0
  const socket = connect(url, {
    create: (address, protocols, headers) => {
      handshakes++
      return new WebSocket(address, protocols, { headers }) as unknown as WebSocketLike
    },
    ...token !== null && {
      token: (request) => {
        calls.push(request)
        return token(request)
      }
    },
    ...options
  })
  t.teardown(() => socket.close())
  const looking = new Set<() => void>()
  socket.subscribe(() => {
    states.push(socket.state)
    for (const look of looking) look()
  })
  for (const type of ['open', 'message', 'error', 'close']) socket.addEventListener(type, (event: Record<string, unknown>) => events.push(lineOf(type, event)))
  const next = async <S extends State['status']>(status: S, from = 0): Promise<State & { readonly status: S }> => {
    // What the caller looks at next is of the turn in which the status comes: the next status may be a millisecond away.
    let look = (): void => {}
    const found = new Promise<State>((resolve) => {
      look = () => {
        const state = states.slice(from).find((state) => state.status === status)
        if (state !== undefined) resolve(state)
      }
    })
    looking.add(look)
    look()
    const state = await within(20_000, status, found).catch((error: Error) => { throw new Error(`${error.message}, after ${JSON.stringify(states)}`) })
    looking.delete(look)
    return state as State & { readonly status: S }
  }
  return { socket, calls, states, events, handshakes: () => handshakes, next }
}

function lineOf (type: string, { data, code, reason, error }: Record<string, unknown>): string {
  if (type === 'message') return `message ${String(data)}`
  if (type === 'error') return `error ${String((error as { reason?: unknown } | undefined)?.reason)}`
  return type === 'close' ? `close ${String(code)} ${String(reason)}`.trimEnd() : type
}
