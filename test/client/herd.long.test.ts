/*
 * A thousand clients whose server restarts. They must come back spread over time, and must not all ask for tokens at once.
 */
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { connect } from '../../lib/client/index'
import type { AuthSocket, ConnectOptions, WebSocketLike } from '../../lib/client/index'
import fastifyWsAuth from '../../lib/index'
import { restartable } from '../../lib/testing/index'
import { SECRET, sign, until } from '../helpers/app'
import { randomFrom } from '../helpers/random'

const CLIENTS = 1000
const BINS = 20
/** Of chi-square with 19 degrees of freedom: one in a thousand uniform samples is over it. The seed makes it nearly always the same sample. */
const MOST_CHI_SQUARE = 43.8
const CROWD = 2000
/** How many clients start at once. */
const AT_ONCE = 250
/** By how much a timer may be early, in milliseconds. */
const EARLY = 2

class Member {
  readonly socket: AuthSocket
  delay = NaN
  /** When it asked for tokens and sent handshakes since it began to wait for the first time. */
  calls: number[] = []
  handshakes: number[] = []

  constructor (url: string, token: () => string, options: ConnectOptions) {
    this.socket = connect(url, {
      token: () => {
        this.calls.push(performance.now())
        return token()
      },
      create: (address, protocols) => {
        this.handshakes.push(performance.now())
        return new WebSocket(address, protocols) as unknown as WebSocketLike
      },
      ...options
    })
    this.socket.subscribe(() => {
      const { state } = this.socket
      if (state.status !== 'waiting' || !Number.isNaN(this.delay)) return
      Object.assign(this, { delay: state.delay, calls: [], handshakes: [] })
    })
  }
}

interface Herd {
  readonly members: Member[]
  /** How many handshakes, and how many dry runs, came to the server since the restart. */
  readonly arrivals: () => number
  readonly dryRuns: () => number
  /** Replaces the server by the next one. @returns when that began */
  readonly restart: () => Promise<number>
}

async function gather (t: Test, servers: readonly fastifyWsAuth.WsAuthOptions[], options: ConnectOptions, token: () => string): Promise<Herd> {
  const { random } = Math
  Math.random = randomFrom(14)
  t.teardown(() => { Math.random = random })
  let [starts, arrivals, dryRuns] = [0, 0, 0]
  const server = await restartable(async (): Promise<FastifyInstance> => {
    const app = Fastify({ forceCloseConnections: true })
    await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, limits: { pending: 2 * CLIENTS }, ...servers[starts++] })
    app.get('/', { websocket: true }, () => {})
    app.server.on('upgrade', () => arrivals++)
    // A client that comes before the server is up may ask by a dry run, once it is, why its handshake failed.
    app.server.on('request', () => dryRuns++)
    return app
  })
  t.teardown(() => server.close())
  const members: Member[] = []
  while (members.length < CLIENTS) {
    const some = Array.from({ length: AT_ONCE }, () => new Member(server.url, token, options))
    await Promise.all(some.map(({ socket }) => socket.opened))
    members.push(...some)
  }
  t.teardown(() => { for (const { socket } of members) socket.close() })
  const restart = async (): Promise<number> => {
    const since = performance.now()
    arrivals = dryRuns = 0
    await server.restart()
    await until(() => members.every(({ delay }) => !Number.isNaN(delay)), 'all have lost the server')
    await Promise.all(members.map(({ socket }) => socket.opened))
    return since
  }
  return { members, arrivals: () => arrivals, dryRuns: () => dryRuns, restart }
}

/** How far values from 0 to a bound are from an equal spread. */
function chiSquare (values: readonly number[], most: number): number {
  const expected = values.length / BINS
  const counts = Array.from({ length: BINS }, () => 0)
  for (const value of values) counts[Math.min(Math.floor(value / most * BINS), BINS - 1)]!++
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
}

/**
 * The delays are spread, and neither a call nor a handshake is earlier than its delay after the restart began. The timers of Node.js count
 * from the beginning of a turn, which is before the client begins to wait. That something is later is the machine's doing.
 */
function checkSpread (t: Test, { members }: Herd, since: number, most: number): void {
  const delays = members.map(({ delay }) => delay)
  t.ok(delays.every((delay) => delay >= 0 && delay <= most), `within ${most} ms`)
  const square = chiSquare(delays, most)
  t.ok(square < MOST_CHI_SQUARE, `chi-square of ${delays.length} delays over ${most} ms: ${square.toFixed(1)}`)
  const early = members.filter(({ delay, calls, handshakes }) => [...calls, ...handshakes].some((at) => at < since + delay - EARLY))
  t.equal(early.length, 0, 'none is early')
}

const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0)
const callsOf = ({ members }: Herd): number => sum(members.map(({ calls }) => calls.length))

/** On a busy machine some handshakes take so long that they are tried again. A dry run may say of a token what a handshake would. */
function checkRequests (t: Test, herd: Herd, calls: number, handshakes: number): void {
  t.equal(callsOf(herd), calls, 'calls for a token')
  const [arrivals, dryRuns] = [herd.arrivals(), herd.dryRuns()]
  t.ok(arrivals + dryRuns >= handshakes && arrivals < handshakes * 1.2, `${arrivals} handshakes, ${dryRuns} dry runs`)
}

t.test('after a restart a thousand clients come back over the crowd time, with the tokens that they have', async (t) => {
  const herd = await gather(t, [{ renewal: false }, { renewal: false }], { retry: { crowd: CROWD } }, () => sign())
  t.equal(callsOf(herd), CLIENTS)
  checkSpread(t, herd, await herd.restart(), CROWD)
  checkRequests(t, herd, 0, CLIENTS)
})

t.test('with expired tokens they ask for others as spread as they come', async (t) => {
  const now = Math.floor(Date.now() / 1000)
  let isLater = false
  // The first server takes what has just expired, and tells no life of it.
  const first: fastifyWsAuth.WsAuthOptions = { renewal: false, jwt: { secret: SECRET, verify: { clockTolerance: 3_600_000 } } }
  const herd = await gather(t, [first, { renewal: false, rejectWith: 'close' }], { retry: { crowd: CROWD } }, () => sign({ sub: 'somebody', exp: isLater ? now + 600 : now - 10 }))
  isLater = true
  checkSpread(t, herd, await herd.restart(), CROWD)
  checkRequests(t, herd, CLIENTS, 2 * CLIENTS)
})

t.test('if the server says auth.retry they come back within its time', async (t) => {
  const herd = await gather(t, [{}, {}], { retry: { crowd: 1 } }, () => sign())
  // As many milliseconds as there are connections, and not less than 5000.
  checkSpread(t, herd, await herd.restart(), 5000)
  checkRequests(t, herd, 0, CLIENTS)
})
