/*
 * A process with clients that stay: `connect()` of the package, each with a token of its own. They are told nothing of what the servers do.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { connect } from '../../lib/client/index'
import type { AuthSocket, WebSocketLike } from '../../lib/client/index'
import { sign } from './app'
import { tie } from './example'

/** What a process is to have open. */
export interface Order {
  readonly url: string
  /** The numbers of its clients: from `first` on, so many. */
  readonly first: number
  readonly count: number
  /** How long a token lives, in seconds, and of each how many clients it is. */
  readonly life: number
  readonly shortLife: number
  readonly shortEach: number
}

/** What became of a client. */
export interface Told {
  readonly status: string
  /** How each of its connections and attempts ended: `<code> <reason> <status>`, in order. */
  readonly ends: readonly string[]
  /** When it asked for a token (ms since the epoch), and why. */
  readonly calls: ReadonlyArray<{ readonly at: number, readonly why: string }>
  /** The life of its tokens, in milliseconds. */
  readonly life: number
}

/** How many clients start at once. */
const AT_ONCE = 50

/** Clients in another process. */
export interface ClientsElsewhere {
  /** Resolves when all were open once. */
  readonly opened: Promise<unknown>
  ask (): Promise<Told[]>
}

/** Starts the clients. They end with the test. */
export function startClients (t: Test, order: Order): ClientsElsewhere {
  const child = fork(__filename, [], { execArgv: process.execArgv.filter((arg) => arg.includes('@tapjs/typescript')), env: { ...process.env, NODE_OPTIONS: '' } })
  tie(child, child.pid)
  t.teardown(() => { child.kill('SIGKILL') })
  const opened = once(child, 'message')
  child.send(order)
  return {
    opened,
    ask: async () => {
      child.send('ask')
      return (await once(child, 'message') as [Told[]])[0]
    }
  }
}

class Client {
  readonly socket: AuthSocket
  readonly ends: string[] = []
  readonly calls: Array<{ at: number, why: string }> = []
  readonly life: number

  constructor (number: number, { url, life, shortLife, shortEach }: Order) {
    const seconds = number % shortEach === 0 ? shortLife : life
    this.life = seconds * 1000
    this.socket = connect(url, {
      token: ({ why }) => {
        this.calls.push({ at: Date.now(), why })
        const iat = Math.floor(Date.now() / 1000)
        return sign({ sub: `user ${number}`, roles: ['member'], iat, exp: iat + seconds })
      },
      create: (address, protocols) => new WebSocket(address, protocols) as unknown as WebSocketLike
    })
    this.socket.subscribe(() => {
      const { state } = this.socket
      if (state.status === 'waiting' || state.status === 'refused') this.ends.push(`${state.end.code} ${state.end.reason} ${state.end.status ?? ''}`.trim())
    })
  }

  get told (): Told {
    const { socket: { state: { status } }, ends, calls, life } = this
    return { status, ends, calls, life }
  }
}

async function obey (order: Order): Promise<void> {
  const clients: Client[] = []
  process.on('message', () => process.send?.(clients.map(({ told }) => told)))
  while (clients.length < order.count) {
    const some = Array.from({ length: Math.min(AT_ONCE, order.count - clients.length) }, (_, i) => new Client(order.first + clients.length + i, order))
    await Promise.all(some.map(({ socket }) => socket.opened))
    clients.push(...some)
  }
  process.send?.('opened')
}

if (require.main === module) process.once('message', (order: Order) => { void obey(order) })
