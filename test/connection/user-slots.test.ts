/*
 * limits.perUser with the scope 'cluster', in apps that share a backplane: who gets a slot, and how each slot comes back.
 */
import t from 'tap'
import type { Test } from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { memoryBackplane } from '../../lib/backplane/memory'
import type { LeaseRules, Leases, OnLeaseLost } from '../../lib/backplane/leases'
import { sign, start, until } from '../helpers/app'
import type { AppSettings, StartedApp } from '../helpers/app'
import { onDecision } from '../helpers/decisions'
import { clientFrame, plainText, RawClient, upgrade } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

type Options = fastifyWsAuth.WsAuthOptions
type Whose = { readonly authorization: string }

const of = (sub: string): Whose => ({ authorization: `Bearer ${sign({ sub })}` })
const ANN = of('ann')
const authFrame = (sub: string): Buffer => clientFrame(1, JSON.stringify({ type: 'auth', token: sign({ sub }) }))

/** A backplane in memory whose slots a test counts, holds up, and lets fail. */
class CountingBackplane implements fastifyWsAuth.Backplane {
  readonly #backplane = memoryBackplane()
  readonly lost = new Set<OnLeaseLost>()
  taken = 0
  held = 0
  /** What is waited for before a slot is given; it may reject. */
  answer: (() => Promise<unknown>) | null = null

  join (member: fastifyWsAuth.BackplaneMember): fastifyWsAuth.BackplaneLink {
    const link = this.#backplane.join(member)
    return { ...link, leases: (rules) => this.#count(link.leases?.(rules) as Leases) }
  }

  #count (leases: Leases): Leases {
    const releaseOf = (release: (() => void) | null): (() => void) | null => {
      if (release !== null) this.taken++
      return release && (() => { this.taken--; release() })
    }
    return {
      take: (user, onLost) => {
        this.lost.add(onLost)
        if (this.answer === null) return releaseOf(leases.take(user, onLost) as (() => void) | null)
        return this.answer().then(() => releaseOf(leases.take(user, onLost) as (() => void) | null))
      },
      hold: (user, onLost) => {
        this.held++
        return releaseOf(leases.hold(user, onLost)) as () => void
      },
      isFree: (user) => this.answer === null ? leases.isFree(user) : this.answer().then(async () => await leases.isFree(user))
    }
  }
}

interface Settings extends Omit<AppSettings, 'plugin'> {
  readonly backplane?: fastifyWsAuth.Backplane
  readonly perUser?: Partial<fastifyWsAuth.PerUserLimit>
  readonly onLimit?: 'reject' | 'close-oldest'
  readonly plugin?: Options
}

async function startChat (t: Test, { backplane = memoryBackplane(), perUser = {}, onLimit = 'reject', plugin = {}, routes, ...settings }: Settings = {}): Promise<StartedApp> {
  return await start(t, {
    ...settings,
    plugin: { backplane, renewal: true, ...plugin, limits: { perUser: { max: 1, scope: 'cluster', ...perUser }, onLimit, ...plugin.limits } },
    routes: async (app) => {
      app.get('/chat', { websocket: true }, () => {})
      app.get('/message', { websocket: true, wsAuth: { token: { message: true } } }, () => {})
      await routes?.(app)
    }
  })
}

async function statusOf (t: Test, { port }: StartedApp, headers: Whose = ANN, path = '/chat'): Promise<number> {
  return (await upgrade(t, port, { path, headers })).answer.status
}

t.test('a user has no more connections on all apps of a backplane than max, and a free slot is free on all', async (t) => {
  const backplane = memoryBackplane()
  const [one, other] = await Promise.all([startChat(t, { backplane, perUser: { max: 2 } }), startChat(t, { backplane, perUser: { max: 2 } })])
  const first = await upgrade(t, one.port, { path: '/chat', headers: ANN })
  t.equal(first.answer.status, 101)
  t.equal(await statusOf(t, other), 101)
  for (const app of [one, other]) t.equal(await statusOf(t, app), 429)
  t.equal(await statusOf(t, other, of('bob')), 101, 'another user')
  t.equal((await one.app.inject({ url: '/chat', headers: ANN })).statusCode, 429, 'a dry run gets the same answer')
  first.socket.destroy()
  await until(() => one.app.wsAuth.connections.size === 0, 'it has gone')
  for (let times = 0; times < 3; times++) t.equal((await other.app.inject({ url: '/chat', headers: ANN })).statusCode, 426, 'a dry run takes no slot')
  t.equal(await statusOf(t, other), 101)
  t.equal(await statusOf(t, one), 429)
})

t.test('with close-oldest, the oldest connection of the user is closed on whichever app it is', async (t) => {
  const backplane = memoryBackplane()
  const settings: Settings = { backplane, perUser: { max: 2 }, onLimit: 'close-oldest' }
  const [one, other] = await Promise.all([startChat(t, settings), startChat(t, settings)])
  const oldest = await upgrade(t, one.port, { path: '/chat', headers: ANN })
  await oldest.frame()
  for (const { port } of [other, other]) await upgrade(t, port, { path: '/chat', headers: ANN })
  t.same(await oldest.close(), { code: 3003, reason: 'connection_replaced' })
  t.match(statsOf(one.app), { connections: 0, closed: { connection_replaced: 1 } })
  t.match(statsOf(other.app), { connections: 2, closed: {} })
})

t.test('a first message takes the slot once its token is accepted, and not before', async (t) => {
  const { app, port } = await startChat(t)
  const waiting = await upgrade(t, port, { path: '/message' })
  t.equal(waiting.answer.status, 101)
  const rival = await upgrade(t, port, { path: '/chat', headers: ANN })
  t.equal(rival.answer.status, 101)
  t.same(await waiting.send(authFrame('ann')).close(), { code: 4429, reason: 'connection_limit' })
  rival.socket.destroy()
  await until(() => app.wsAuth.connections.size === 0, 'it has gone')
  const late = await upgrade(t, port, { path: '/message' })
  const { payload } = await late.send(authFrame('ann')).frame()
  t.match(payload.toString(), /auth\.ok/)
  t.equal(await statusOf(t, { app, port, log: [] }), 429)
})

t.test('a slot comes back whatever becomes of the handshake that has taken it', async (t) => {
  const backplane = new CountingBackplane()
  const chat = await startChat(t, {
    backplane,
    plugin: { handshakeTimeout: 300, token: { message: { timeout: 1500 } } },
    routes: (app) => {
      app.get('/denied', { websocket: true, preHandler: async (_request, reply) => await reply.code(418).send() }, () => {})
      app.get('/throwing', { websocket: true, preHandler: async () => { throw new Error('no') } }, () => {})
      app.get('/hanging', { websocket: true, preHandler: async () => await new Promise(() => {}) }, () => {})
      app.get('/ending', { websocket: true }, (socket) => { socket.close() })
      app.get('/failing', { websocket: true }, () => { throw new Error('no') })
    }
  })
  const { app, port } = chat
  const isFree = async (): Promise<void> => {
    await until(() => backplane.taken === 0, 'the slot is free')
    t.equal((await app.inject({ url: '/chat', headers: ANN })).statusCode, 426)
  }

  for (const [path, status] of [['/denied', 418], ['/throwing', 500], ['/hanging', 503], ['/ending', 101], ['/failing', 101]] as const) {
    t.test(`a slot comes back after a handshake of ${path}`, async (t) => {
      t.equal((await upgrade(t, port, { path, headers: ANN })).answer.status, status)
      await isFree()
    })
  }

  t.test('a slot comes back if ws refuses the handshake', async (t) => {
    const server = app.websocketServer
    server.options.verifyClient = () => false
    t.equal((await upgrade(t, port, { path: '/chat', headers: ANN })).answer.status, 401)
    server.options.verifyClient = undefined as never
    await isFree()
  })

  for (const [way, path, headers] of [['a handshake', '/chat', ANN], ['a first message', '/message', {}]] as const) {
    t.test(`a slot that is given after the client of ${way} has left comes back`, async (t) => {
      let resolve = (): void => {}
      const promise = new Promise<void>((_resolve) => { resolve = _resolve })
      backplane.answer = async () => await promise
      const client = await RawClient.open(t, port)
      client.socket.write(requestOf(path, headers))
      if (path === '/message') {
        await client.response()
        client.send(authFrame('ann'))
      }
      await until(() => backplane.lost.size > 0, 'the slot is asked for')
      client.socket.destroy()
      await until(() => app.wsAuth.stats().pending === 0, 'the client has left')
      resolve()
      await promise
      backplane.answer = null
      backplane.lost.clear()
      await isFree()
    })

    t.test(`a slot that is given after the deadline of ${way} comes back`, async (t) => {
      let resolve = (): void => {}
      const promise = new Promise<void>((_resolve) => { resolve = _resolve })
      backplane.answer = async () => await promise
      const client = await upgrade(t, port, { path, headers })
      if (path === '/chat') t.equal(client.answer.status, 503)
      else t.same(await client.send(authFrame('ann')).close(), { code: 4503, reason: 'auth_unavailable' })
      resolve()
      await promise
      backplane.answer = null
      backplane.lost.clear()
      await isFree()
    })
  }
})

/** The request of a good handshake. */
function requestOf (path: string, headers: Readonly<Record<string, string>>): string {
  return plainText({ path, headers: { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', ...headers } })
}

t.test('while the backplane does not answer, whenDown decides', async (t) => {
  t.test('with local, an instance counts its own connections, by header and by first message', async (t) => {
    const backplane = new CountingBackplane()
    const chat = await startChat(t, { backplane, perUser: { max: 2, whenDown: 'local' } })
    backplane.answer = async () => { throw new Error('down') }
    t.equal((await chat.app.inject({ url: '/chat', headers: ANN })).statusCode, 426)
    t.equal(await statusOf(t, chat), 101)
    const waiting = await upgrade(t, chat.port, { path: '/message' })
    t.match((await waiting.send(authFrame('ann')).frame()).payload.toString(), /auth\.ok/)
    t.equal(await statusOf(t, chat), 429)
    t.equal((await chat.app.inject({ url: '/chat', headers: ANN })).statusCode, 429)
    t.equal(backplane.held, 2, 'the backplane is told of them later')
    const many = await Promise.all(Array.from({ length: 20 }, async () => await statusOf(t, chat, of('bob'))))
    t.equal(many.filter((status) => status === 101).length, 2, 'also of simultaneous ones')
  })

  t.test('with local and close-oldest, an instance closes its own oldest connection', async (t) => {
    const backplane = new CountingBackplane()
    const chat = await startChat(t, { backplane, onLimit: 'close-oldest' })
    backplane.answer = async () => { throw new Error('down') }
    const oldest = await upgrade(t, chat.port, { path: '/chat', headers: ANN })
    await oldest.frame()
    t.equal(await statusOf(t, chat), 101)
    t.same(await oldest.close(), { code: 3003, reason: 'connection_replaced' })
  })

  t.test('with reject, a handshake is 503', async (t) => {
    const backplane = new CountingBackplane()
    const chat = await startChat(t, { backplane, perUser: { whenDown: 'reject' } })
    t.equal(await statusOf(t, chat, of('bob')), 101)
    backplane.answer = async () => { throw new Error('down') }
    const { answer } = await upgrade(t, chat.port, { path: '/chat', headers: ANN })
    t.match(answer, { status: 503, body: /WS_AUTH_UNAVAILABLE/ })
    t.notMatch(answer.body, /down/)
    t.equal((await chat.app.inject({ url: '/chat', headers: ANN })).statusCode, 503)
    t.equal(chat.app.wsAuth.connections.size, 1, 'open connections stay')
    t.equal(backplane.held, 0)
  })
})

t.test('a connection whose slot is lost is closed, also if it is lost before the connection is open', async (t) => {
  for (const [why, closed] of [['surplus', { code: 4429, reason: 'connection_limit' }], ['replaced', { code: 3003, reason: 'connection_replaced' }]] as const) {
    const backplane = new CountingBackplane()
    const chat = await startChat(t, { backplane })
    const reasons: unknown[] = []
    onDecision(t, ({ event, reason }) => { if (event === 'closed') reasons.push(reason) })
    const open = await upgrade(t, chat.port, { path: '/chat', headers: ANN })
    await open.frame()
    for (const onLost of backplane.lost) onLost(why)
    for (const onLost of backplane.lost) onLost(why)
    t.same(await open.close(), closed)
    t.equal(backplane.taken, 0)
    backplane.lost.clear()

    backplane.answer = async () => { for (const onLost of backplane.lost) onLost(why) }
    const early = await upgrade(t, chat.port, { path: '/chat', headers: of('bob') })
    t.equal(early.answer.status, 101)
    t.same(await early.close(), closed)
    t.equal(backplane.taken, 0)
    t.same(reasons, [closed.reason, closed.reason])
  }
})

t.test('a renewal, an anonymous client, a token without a subject and a request for a ticket take no slot', async (t) => {
  const backplane = new CountingBackplane()
  const { app, port } = await startChat(t, { backplane, plugin: { tickets: true }, routes: (app) => { app.get('/optional', { websocket: true, wsAuth: 'optional' }, () => {}) } })
  for (let times = 0; times < 2; times++) {
    t.equal((await upgrade(t, port, { path: '/optional' })).answer.status, 101)
    t.equal((await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign({})}` } })).answer.status, 101)
  }
  t.equal(backplane.taken, 0)
  t.equal((await upgrade(t, port, { path: '/chat', headers: ANN })).answer.status, 101)
  await app.wsAuth.connections.bySub('ann')[0]?.renew(sign({ sub: 'ann' }))
  t.equal(backplane.taken, 1)
  const { statusCode } = await app.inject({ method: 'POST', url: '/ws-ticket', headers: ANN })
  t.equal(statusCode, 200, 'a ticket is not a connection')
  t.equal(backplane.taken, 1)
})

t.test('a ticket is spent by a handshake that finds no free slot, as with a limit on one instance', async (t) => {
  for (const perUser of [1, { max: 1, scope: 'cluster' }] as const) {
    const { app, port } = await startChat(t, { plugin: { tickets: true, limits: { perUser } } })
    const { ticket } = await app.wsAuth.issueTicket({ sub: 'ann' })
    const open = await upgrade(t, port, { path: '/chat', headers: ANN })
    t.equal((await upgrade(t, port, { path: `/chat?ticket=${ticket}` })).answer.status, 429)
    open.socket.destroy()
    await until(() => app.wsAuth.connections.size === 0, 'it has gone')
    t.equal((await upgrade(t, port, { path: `/chat?ticket=${ticket}` })).answer.status, 401)
  }
})

t.test('a backplane of the app that cannot count users is a TypeError at the start', async (t) => {
  const inner = memoryBackplane()
  const backplane: fastifyWsAuth.Backplane = {
    join: (member) => {
      const { leases: _none, ...link } = inner.join(member)
      return link
    }
  }
  await t.rejects(startChat(t, { backplane }), { name: 'TypeError', message: /^"backplane" option must be one that counts the slots of users.*no method "leases"$/ })
  await startChat(t, { backplane, plugin: { limits: { perUser: 5 } } })
})

t.test('without the option, no slot is asked for', async (t) => {
  const backplane = new CountingBackplane()
  let asked: LeaseRules | null = null
  const join = (member: fastifyWsAuth.BackplaneMember): fastifyWsAuth.BackplaneLink => ({ ...backplane.join(member), leases: (rules) => { asked = rules; throw new Error('not asked for') } })
  const chat = await startChat(t, { backplane: { join }, plugin: { limits: { perUser: 1 } } })
  t.equal(await statusOf(t, chat), 101)
  t.equal(asked, null)
})
