/*
 * Clients that authenticate, renew, stall, lie and leave wherever they like. What they do is drawn from a seed, though the network does
 * not keep its order.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Test } from 'tap'
import type fastifyWsAuth from '../../../lib/index'
import type { WsAuthEvent } from '../../../lib/index'
import { start, until, within } from '../app'
import { Dice } from './dice'
import { Mischief } from './mischief'
import type { Part } from './mischief'
import { onDecision } from '../decisions'
import { clientFrame, requestText, upgrade } from '../raw-client'
import { statsOf } from '../stats'

const AT_ONCE = 80
const USERS = 12
const PER_USER = 3
/** What Node.js 26 says of the test runner's own loader, whenever that is asked for a file. */
const LOADER_WARNING = 'DEP0205'

/** What a token of these tests says; it is no secret. */
interface Told {
  readonly sub?: string
  readonly exp?: number
  readonly iat?: number
  /** How long its verification takes, in milliseconds; negative where it never ends. */
  readonly wait?: number
  readonly fails?: 'refused' | 'thrown'
}

function tokenOf (told: Told): string {
  return Buffer.from(JSON.stringify(told)).toString('base64url')
}

/** At once where it is told to, else late or never. */
const verify: NonNullable<fastifyWsAuth.WsAuthOptions['verify']> = (token) => {
  let told: Told
  try {
    told = JSON.parse(Buffer.from(token, 'base64url').toString()) as Told
  } catch {
    return null
  }
  const { wait, fails, ...claims } = told
  if (fails === 'thrown') throw new Error('the verifier fails')
  const answer = fails === 'refused' ? null : claims
  if (wait === undefined) return answer
  return wait < 0 ? new Promise<never>(() => {}) : pause(wait).then(() => answer)
}

/** Also the app does not always do what it should. */
function addRoutes (app: FastifyInstance, dice: Dice): void {
  const happens = (request: FastifyRequest, probability: number): boolean => request.headers['x-calm'] === undefined && dice.chance(probability)
  app.addHook('preHandler', async (request, reply) => {
    const { 'x-hook': hook } = request.headers
    if (hook === 'wait') await pause(20)
    if (hook === 'throw') throw new Error('a hook fails')
    if (hook === 'answer') await reply.code(418).send('no')
    if (hook === 'hang') await new Promise(() => {})
  })
  for (const [url, wsAuth] of [['/chat', true], ['/optional', 'optional'], ['/public', false]] as const) {
    app.get(url, { websocket: true, wsAuth }, async (socket, request) => {
      socket.on('message', (data) => {
        socket.send(String(data))
        if (happens(request, 0.02)) socket.close(4000, 'enough')
        if (happens(request, 0.02)) request.wsAuth?.close()
        if (happens(request, 0.02)) void request.wsAuth?.renew(tokenOf({ sub: `user ${dice.below(USERS)}`, wait: 5 })).catch(() => {})
        if (happens(request, 0.01)) socket.terminate()
      })
      if (happens(request, 0.05)) { socket.pause(); await pause(10); socket.resume() }
      if (happens(request, 0.02)) throw new Error('a handler fails')
      if (happens(request, 0.02)) socket.close(4001)
    })
  }
}

/** What a client of these tests says. */
function drawPart (dice: Dice): Part {
  const user = dice.below(USERS)
  const token = (): string => drawToken(dice, user)
  const isByHeader = dice.chance(0.5)
  const request = requestText({
    path: dice.one('/chat', '/chat', '/chat', '/chat', '/optional', '/public', '/nowhere'),
    headers: {
      ...(isByHeader && { authorization: `Bearer ${token()}` }),
      ...(dice.chance(0.2) && { origin: dice.one('http://localhost', 'https://evil.example') }),
      ...(dice.chance(0.15) && { 'x-hook': dice.one('wait', 'wait', 'throw', 'answer', 'hang') }),
      ...(dice.chance(0.03) && { 'sec-websocket-version': '12' })
    }
  })
  return { request, hasFirstMessage: !isByHeader, token, isWild: false }
}

function drawToken (dice: Dice, user: number): string {
  if (dice.chance(0.03)) return 'nonsense'
  const now = Math.floor(Date.now() / 1000)
  return tokenOf({
    ...(!dice.chance(0.05) && { sub: `user ${dice.chance(0.05) ? dice.below(USERS) : user}` }),
    ...(dice.chance(0.2) && { exp: now + dice.below(6) }),
    ...(dice.chance(0.1) && { iat: now - dice.below(3) }),
    ...(dice.chance(0.5) && { wait: dice.chance(0.05) ? -1 : dice.below(15) }),
    ...(dice.chance(0.06) && { fails: dice.one('refused', 'thrown') })
  })
}

/** What was published, from the beginning. */
class Events {
  readonly #open = new Map<string, number>()
  readonly counted = { accepted: 0, renewed: 0, refused: {} as Record<string, number>, closed: {} as Record<string, number> }
  /** What contradicts what came before. */
  readonly wrong: string[] = []

  readonly listen = ({ event, code, reason, connectionId, dryRun }: WsAuthEvent): void => {
    const id = connectionId ?? ''
    const { counted } = this
    if (code !== null && !dryRun) counted.refused[code] = (counted.refused[code] ?? 0) + 1
    if (event === 'accepted') {
      counted.accepted++
      if (this.#open.has(id)) this.wrong.push(`${id} was accepted twice`)
      this.#open.set(id, 0)
    } else if (event === 'renewed') {
      counted.renewed++
      if (this.#open.get(id) !== 0) this.wrong.push(`${id} was renewed and not open`)
    } else if (event === 'closed' || event === 'expired') {
      counted.closed[reason ?? ''] = (counted.closed[reason ?? ''] ?? 0) + 1
      if (this.#open.get(id) !== 0) this.wrong.push(`${id} has ended, ${reason}, and was not open`)
      this.#open.set(id, 1)
    }
  }

  /** Those that have been accepted and have not ended. */
  get open (): string[] {
    return [...this.#open].filter(([, ends]) => ends === 0).map(([id]) => id)
  }
}

export interface Draw {
  readonly clients: number
  readonly onLimit: 'reject' | 'close-oldest'
  readonly seed: number
  /** Whether those that are left answer the close frame of `app.close()`; else it waits 3 s for them. */
  readonly isPolite: boolean
}

/** What became of them, by the counts of the server. */
export interface Counts {
  readonly renewed: number
  readonly refused: Readonly<Record<string, number>>
}

/** So many clients come and leave nothing: no connection, no slot, no timer, and an event for each decision. */
export async function assertNothingIsLeft (t: Test, { clients, onLimit, seed, isPolite }: Draw): Promise<Counts> {
  const problems: unknown[] = []
  const onProblem = (problem: Error & { code?: string }): void => { if (problem.code !== LOADER_WARNING) problems.push(problem) }
  for (const event of ['warning', 'unhandledRejection']) {
    process.on(event, onProblem)
    t.teardown(() => process.removeListener(event, onProblem))
  }
  const events = new Events()
  onDecision(t, events.listen)

  const dice = new Dice(seed)
  const { app, port } = await start(t, {
    server: { logger: false },
    plugin: {
      verify,
      token: { message: { timeout: 300 } },
      rejectWith: 'auto',
      handshakeTimeout: 300,
      limits: { perUser: PER_USER, onLimit, pending: 12 },
      heartbeat: { interval: 2000 },
      websocket: { errorHandler: (_error, socket) => { socket.terminate() } }
    },
    routes: (app) => addRoutes(app, dice)
  })
  // Of the crowd perhaps none waits for so long.
  const idle = await upgrade(t, port, { path: '/chat' })
  t.equal(idle.answer.status, 101)
  await idle.ended

  let mostOfOne = 0
  let mostPending = 0
  const crowd: Mischief[] = []
  const work = async (): Promise<void> => {
    while (crowd.length < clients) {
      const client = new Mischief(port, dice, drawPart(dice))
      crowd.push(client)
      await client.run()
      if (dice.chance(0.05)) await app.inject({ url: '/chat', headers: { authorization: `Bearer ${tokenOf({ sub: 'user 0' })}` } })
      for (let user = 0; user < USERS; user++) mostOfOne = Math.max(mostOfOne, app.wsAuth.connections.bySub(`user ${user}`).length)
      mostPending = Math.max(mostPending, statsOf(app).pending)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  for (const client of crowd) client.destroy()
  // Connections are accepted in their order: when this one is answered, no other waits for that any more.
  t.equal((await upgrade(t, port, { path: '/nowhere' })).answer.status, 404)
  let sockets = Infinity
  const count = (): number => { app.server.getConnections((_error, found) => { sockets = found }); return sockets }
  await until(() => count() === 0, 'the server has no connection', 10_000)
  await until(() => app.wsAuth.connections.size === 0 && statsOf(app).pending === 0, 'all have gone', 10_000)
  await until(() => app.websocketServer.clients.size === 0, 'their sockets too', 10_000)

  const { accepted, renewed, refused, closed } = statsOf(app)
  t.comment(JSON.stringify({ seed, accepted, renewed, refused, closed, mostOfOne, mostPending }))
  t.same(events.wrong, [])
  t.same(events.open, [], 'each that was accepted has ended')
  t.same(events.counted, { accepted, renewed, refused, closed }, 'what was published is what was counted')
  t.equal(Object.values(closed).reduce((sum, count) => sum + count, 0), accepted)
  t.ok(mostOfOne <= PER_USER, `a user had ${mostOfOne} connections`)
  t.ok(accepted > clients / 10, 'some got in')
  t.ok(Object.keys(refused).length > 0, 'some were refused')

  for (let user = 0; user < USERS; user++) {
    const headers = { authorization: `Bearer ${tokenOf({ sub: `user ${user}` })}`, 'x-calm': '1' }
    const again = await Promise.all(Array.from({ length: PER_USER + 1 }, async () => await upgrade(t, port, { path: '/chat', headers })))
    const expected = Array.from({ length: PER_USER + 1 }, (_, n) => n === PER_USER && onLimit === 'reject' ? 429 : 101)
    if (isPolite) for (const client of again) void client.close().then(() => client.socket.end(clientFrame(8, Buffer.from([3, 233]))), () => {})
    t.same(again.map(({ answer }) => answer.status).sort(), expected, `user ${user} has all places again, and no more`)
  }
  t.equal(statsOf(app).accepted, accepted + USERS * (onLimit === 'reject' ? PER_USER : PER_USER + 1))
  await within(5000, 'app.close()', app.close())
  t.equal(app.wsAuth.connections.size, 0)
  t.same(events.open, [])
  t.same(problems, [], 'no warning, and no rejection that is not handled')
  return { renewed, refused }
}
