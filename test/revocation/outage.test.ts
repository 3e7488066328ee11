/*
 * What can happen to a connection between the last check of its handshake and the moment in which it can be found, and what
 * a route says of tickets.
 */
import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import fastifyWsAuth from '../../lib/index'
import { memoryBackplane } from '../../lib/backplane/memory'
import { sign, start, until } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { onDecision } from '../helpers/decisions'
import { upgrade } from '../helpers/raw-client'

/** A backplane that cannot vouch for anybody while it is out. */
class Outage implements fastifyWsAuth.Backplane {
  readonly #backplane = memoryBackplane()
  readonly #members: fastifyWsAuth.BackplaneMember[] = []
  isOut = false

  join (member: fastifyWsAuth.BackplaneMember): fastifyWsAuth.BackplaneLink {
    this.#members.push(member)
    const isCurrent = (): boolean => !this.isOut
    return { ...this.#backplane.join(member), get isCurrent () { return isCurrent() } }
  }

  begin (): void {
    this.isOut = true
    for (const member of this.#members) member.onOutage()
  }
}

interface Chat extends StartedApp {
  readonly outage: Outage
  readonly opened: string[]
}

/** An app that is still deciding about somebody when the outage begins. */
async function startChat (t: Test, plugin: fastifyWsAuth.WsAuthOptions): Promise<Chat> {
  const outage = new Outage()
  const opened: string[] = []
  const authorize = async ({ sub }: { sub?: unknown }): Promise<boolean> => {
    if (sub === 'late') outage.begin()
    return true
  }
  const started = await start(t, {
    plugin: { backplane: outage, renewal: true, token: { message: true }, limits: { perUser: 1 }, ...plugin },
    routes: (app) => {
      app.get('/chat', { websocket: true, wsAuth: { authorize: authorize as never } }, (_socket, request) => { opened.push(String(request.wsAuth?.sub)) })
    }
  })
  return { ...started, outage, opened }
}

function connect (t: Test, { port }: StartedApp, way: 'header' | 'message', sub: string): { socket: WebSocket, ended: Promise<string> } {
  const token = sign({ sub, exp: Math.floor(Date.now() / 1000) + 600 })
  const socket = new WebSocket(`ws://127.0.0.1:${port}/chat`, way === 'header' ? { headers: { authorization: `Bearer ${token}` } } : {})
  socket.on('error', () => {})
  t.teardown(() => { socket.terminate() })
  if (way === 'message') socket.on('open', () => { socket.send(JSON.stringify({ type: 'auth', token })) })
  return { socket, ended: once(socket, 'close').then(([code, reason]) => `${code} ${reason}`) }
}

for (const way of ['header', 'message'] as const) {
  for (const code of [4503, 4999]) {
    t.test(`a connection admitted by ${way} while an outage begins is closed with ${code}, like those that were open`, async (t) => {
      const events: string[] = []
      const chat = await startChat(t, code === 4503 ? {} : { closeCodes: { unavailable: code } })
      const early = connect(t, chat, way, 'early')
      await until(() => chat.opened.length === 1, 'the first is open')
      onDecision(t, ({ event, code, reason, sub }) => { events.push([event, sub, reason ?? code].join(' ')) })
      const late = connect(t, chat, way, 'late')
      t.equal(await early.ended, `${code} auth_unavailable`)
      t.equal(await late.ended, `${code} auth_unavailable`)
      t.same(chat.opened, ['early'], 'its handler has never run')
      t.equal(chat.app.wsAuth.connections.size, 0)
      t.ok(events.some((event) => event.includes('late') && event.includes('auth_unavailable')), events.join(', '))

      chat.outage.isOut = false
      const again = connect(t, chat, way, 'early')
      await until(() => chat.opened.length === 2 && again.socket.readyState === WebSocket.OPEN, 'the same user is admitted again when it is over')
      again.socket.close()
      await again.ended
    })
  }
}

t.test('a user revoked while an outage begins gets 503 during the outage, and 401 after it', async (t) => {
  const chat = await startChat(t, {})
  const late = connect(t, chat, 'header', 'late')
  t.equal(await late.ended, '4503 auth_unavailable')
  await chat.app.wsAuth.revoke({ sub: 'late' })
  t.equal((await upgrade(t, chat.port, { path: '/chat', headers: { authorization: `Bearer ${sign({ sub: 'late', iat: 1 })}` } })).answer.status, 503)
  chat.outage.isOut = false
  t.equal((await upgrade(t, chat.port, { path: '/chat', headers: { authorization: `Bearer ${sign({ sub: 'late', iat: 1 })}` } })).answer.status, 401)
})

t.test('a connection that a subscriber closes while a revocation closes it is counted once', async (t) => {
  const { app, port } = await start(t, { routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
  const headers = { authorization: `Bearer ${sign({ sub: 'ann' })}` }
  for (let i = 0; i < 3; i++) await upgrade(t, port, { path: '/chat', headers })
  await until(() => app.wsAuth.connections.size === 3, 'all are open')
  const inner: Array<Promise<{ closed: number }>> = []
  onDecision(t, ({ event }) => { if (event === 'closed') inner.push(app.wsAuth.disconnect({ sub: 'ann' })) })
  const results = [await app.wsAuth.revoke({ sub: 'ann' }), ...await Promise.all(inner)]
  t.equal(results.length, 4)
  t.equal(results.reduce((sum, { closed }) => sum + closed, 0), 3)
})

t.test('a route without its own tickets.require follows the plugin', async (t) => {
  for (const require of [true, false]) {
    const { app, port } = await start(t, {
      plugin: { tickets: { require } },
      routes: (app) => {
        for (const [path, tickets] of [['/silent', {}], ['/undefined', { require: undefined }], ['/yes', { require: true }], ['/no', { require: false }]] as const) {
          app.get(path, { websocket: true, wsAuth: { tickets: tickets as { require?: boolean } } }, () => {})
        }
      }
    })
    const headers = { authorization: `Bearer ${sign({ sub: 'ann' })}` }
    const statusOf = async (path: string): Promise<number> => (await upgrade(t, port, { path, headers })).answer.status
    t.same(await Promise.all(['/silent', '/undefined', '/yes', '/no'].map(statusOf)), [require ? 401 : 101, require ? 401 : 101, 401, 101])
    if (!require) continue
    const { ticket } = await app.wsAuth.issueTicket({ sub: 'ann' })
    t.equal(await statusOf(`/silent?ticket=${ticket}`), 101)
  }
})
