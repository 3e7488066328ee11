/*
 * Disconnecting: a connection, a login, a user, with whatever code and reason. Nobody is kept out by it.
 */
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import fastifyWsAuth, { memoryBackplane } from '../../lib/index'
import { sign, start, within } from '../helpers/app'
import { onDecision } from '../helpers/decisions'
import { seconds } from '../helpers/keys'
import { moveClock } from '../helpers/moved-clock'
import { clientFrame, RawClient, requestText, upgrade } from '../helpers/raw-client'
import { eventually, hold, startChat } from '../helpers/renewal-app'
import type { Chat } from '../helpers/renewal-app'
import { statsOf } from '../helpers/stats'

type Match = fastifyWsAuth.DisconnectMatch

const DISCONNECTED = { code: 3003, reason: 'disconnected' }
const CLAIMS = { sub: 'ann', jti: 'j1', sid: 's1', iss: 'https://a.example', group: 'red', iat: seconds(-10) }
const KID = 'k1'

async function closeOf ({ closed }: Chat): Promise<Chat['closed']> {
  await eventually(() => closed.code !== null, 'it is closed')
  return { ...closed }
}

function bearer (claims: Record<string, unknown> = CLAIMS): { headers: Record<string, string> } {
  return { headers: { authorization: `Bearer ${sign(claims)}` } }
}

for (const kind of ['id', 'jti', 'sid', 'sub', 'iss', 'group', 'kid'] as const) {
  t.test(`a disconnect by ${kind} closes the connections with that ${kind}, and their tokens stay good`, async (t) => {
    const { app, connect, port, log } = await startChat(t, { plugin: { groups: ({ group }) => group === undefined ? [] : ['all', group] } })
    const token = sign(CLAIMS, undefined, { kid: KID })
    const other = sign({ sub: 'bob', jti: 'j2', sid: 's2', iss: 'https://b.example', group: 'blue' }, undefined, { kid: 'k2' })
    const chats = [await connect(token), await connect(token), await connect(other), await connect(sign({ iat: seconds() }))] as [Chat, Chat, Chat, Chat]
    const events: fastifyWsAuth.WsAuthEvent[] = []
    onDecision(t, (event) => events.push(event))
    const value = kind === 'id' ? chats[0].connection.id : kind === 'kid' ? KID : CLAIMS[kind]
    const closed = kind === 'id' ? [chats[0]] : [chats[0], chats[1]]
    const result = await app.wsAuth.disconnect({ [kind]: value } as never)
    t.equal(app.wsAuth.connections.size, 4 - closed.length)
    t.equal(result.closed, closed.length)
    t.strictSame(result.instances.map(({ answered, closed }) => ({ answered, closed })), [{ answered: true, closed: closed.length }])
    for (const chat of chats) {
      if (closed.includes(chat)) t.strictSame(await closeOf(chat), DISCONNECTED)
      else t.ok(await chat.isHeard())
    }
    t.strictSame(statsOf(app).closed, { disconnected: closed.length })
    t.strictSame(events.map(({ event, reason, connectionId }) => [event, reason, connectionId]), closed.map(({ connection }) => ['closed', 'disconnected', connection.id]))
    const lines = log.map((line) => JSON.parse(line) as Record<string, unknown>)
    t.equal(lines.filter(({ reason }) => reason === 'disconnected').length, closed.length)
    t.match(lines.filter(({ command }) => command !== undefined), [{ command: 'disconnect', match: { [kind]: value }, by: null, why: null, closed: closed.length, instances: 1 }])
    t.equal((await upgrade(t, port, { path: '/chat', ...bearer() })).answer.status, 101)
    t.equal(statsOf(app).refused.WS_AUTH_TOKEN_REVOKED, undefined)
    if (kind === 'id') t.equal((await app.wsAuth.disconnect({ id: value })).closed, 0, 'an id is used once')
  })
}

t.test('a disconnect closes with its code and reason, and is counted as a disconnect', async (t) => {
  const { app, connect } = await startChat(t)
  const cases: Array<[fastifyWsAuth.DisconnectOptions | undefined, number, string]> = [
    [undefined, 3003, 'disconnected'],
    [{}, 3003, 'disconnected'],
    [{ code: 4000 }, 4000, 'disconnected'],
    [{ reason: 'enough' }, 3003, 'enough'],
    [{ code: 1000, reason: '' }, 1000, ''],
    [{ code: 1014, reason: 'é'.repeat(61) }, 1014, 'é'.repeat(61)],
    [{ code: 4999, reason: 'x'.repeat(123) }, 4999, 'x'.repeat(123)],
    [{ code: undefined, reason: undefined }, 3003, 'disconnected']
  ]
  for (const [options, code, reason] of cases) {
    const chat = await connect(sign(CLAIMS))
    t.equal((await app.wsAuth.disconnect({ sub: 'ann' }, options)).closed, 1)
    t.strictSame(await closeOf(chat), { code, reason })
  }
  t.strictSame(statsOf(app).closed, { disconnected: cases.length })
})

t.test('a disconnect without a code closes each connection with the code of its route', async (t) => {
  const { app, port } = await start(t, {
    plugin: { closeCodes: { forbidden: 4403 } },
    routes: (app) => {
      app.get('/plugin', { websocket: true }, () => {})
      app.get('/own', { websocket: true, wsAuth: { closeCodes: { forbidden: 4999 } } }, () => {})
      app.get('/optional', { websocket: true, wsAuth: 'optional' }, () => {})
    }
  })
  const open = async (): Promise<RawClient[]> => await Promise.all(['/plugin', '/own', '/optional'].map(async (path) => await upgrade(t, port, { path, ...bearer() })))
  const clients = await open()
  t.equal((await app.wsAuth.disconnect({ sid: 's1' })).closed, 3)
  t.strictSame(await Promise.all(clients.map(async (client) => await client.close())), [4403, 4999, 4403].map((code) => ({ code, reason: 'disconnected' })))
  const others = await open()
  t.equal((await app.wsAuth.disconnect({ sid: 's1' }, { code: 4001, reason: 'moved' })).closed, 3)
  t.strictSame(await Promise.all(others.map(async (client) => await client.close())), [4001, 4001, 4001].map((code) => ({ code, reason: 'moved' })))
})

t.test('an anonymous connection can be closed by its id, or with all others, and by nothing else', async (t) => {
  const ids: string[] = []
  const { app, port } = await start(t, {
    routes: (app) => { app.get('/optional', { websocket: true, wsAuth: 'optional' }, (_socket, { wsAuth }) => { ids.push(wsAuth?.id as string) }) }
  })
  const clients = [await upgrade(t, port, { path: '/optional' }), await upgrade(t, port, { path: '/optional' })]
  for (const match of [{ sub: 'null' }, { jti: 'null' }, { sid: 'undefined' }, { sub: ids[0] as string }, { id: 'null' }, { id: '__proto__' }, { id: `${ids[0]} ` }, { kid: 'null' }, { iss: 'undefined' }]) t.equal((await app.wsAuth.disconnect(match as Match)).closed, 0)
  t.equal((await app.wsAuth.disconnect({ id: ids[0] as string })).closed, 1)
  t.strictSame(await clients[0]?.close(), DISCONNECTED)
  t.equal(app.wsAuth.connections.size, 1)
  t.equal((await app.wsAuth.revoke({ all: true })).closed, 0)
  t.equal((await app.wsAuth.disconnect({ all: true })).closed, 1)
  t.strictSame(await clients[1]?.close(), DISCONNECTED)
})

t.test('disconnect rejects a wrong argument with a TypeError, and closes nothing', async (t) => {
  const { app, connect } = await startChat(t)
  const chat = await connect(sign(CLAIMS))
  const { id } = chat.connection
  const disconnect = app.wsAuth.disconnect as (...args: unknown[]) => Promise<unknown>
  const wrong: unknown[][] = [[], [null], [id], [[id]], [{}], [{ id: '' }], [{ id: null }], [{ id, sub: 'ann' }], [{ sub: 'ann', beforeAt: Date.now() }], [{ jti: ['j1'] }], [{ sub: 7 }], [{ user: 'ann' }],
    [{ id }, null], [{ id }, 4000], [{ id }, { code: 1005 }], [{ id }, { code: 1006 }], [{ id }, { code: 1015 }], [{ id }, { code: 2000 }], [{ id }, { code: '4000' }], [{ id }, { code: null }], [{ id }, { code: NaN }],
    [{ id }, { reason: 'x'.repeat(124) }], [{ id }, { reason: 'é'.repeat(62) }], [{ id }, { reason: null }], [{ id }, { untilAt: Date.now() }], [{ id }, { reasons: 'x' }]]
  for (const args of wrong) await t.rejects(disconnect(...args), TypeError, JSON.stringify(args))
  t.ok(await chat.isHeard())
})

t.test('a message after the one that disconnects does not reach the handler', async (t) => {
  const heard: string[] = []
  const { port } = await start(t, {
    routes: (app) => {
      app.get('/chat', { websocket: true }, (socket, { wsAuth }) => {
        socket.on('message', (data) => {
          heard.push(String(data))
          if (heard.length === 2) void app.wsAuth.disconnect({ id: wsAuth?.id as string }, { code: 4000, reason: 'enough' })
        })
      })
    }
  })
  const client = await RawClient.open(t, port)
  // All in one write: what stands behind the handshake is read with it.
  client.send(Buffer.concat([Buffer.from(requestText({ path: '/chat', ...bearer() })), ...['one', 'two', 'three', 'four'].map((text) => clientFrame(1, text))]))
  t.equal((await client.response()).status, 101)
  t.strictSame(await client.close(), { code: 4000, reason: 'enough' })
  client.send(clientFrame(1, 'five')).send(clientFrame(8, Buffer.from([0x0f, 0xa0])))
  await client.ended
  t.strictSame(heard, ['one', 'two'])
})

t.test('a client that ignores its disconnect leaves the registry at once, and is terminated after 5 s', async (t) => {
  const { app, port } = await start(t, { routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
  const client = await upgrade(t, port, { path: '/chat', ...bearer() })
  const clock = moveClock(t)
  const { closed } = await app.wsAuth.disconnect({ sub: 'ann' })
  t.equal(closed, 1)
  t.equal(app.wsAuth.connections.size, 0)
  t.equal((await app.wsAuth.disconnect({ sub: 'ann' })).closed, 0)
  t.strictSame(await client.close(), DISCONNECTED)
  const noise = setInterval(() => client.send(clientFrame(1, 'still here')), 100)
  await clock.pass(4900)
  t.equal(app.websocketServer.clients.size, 1, 'it may answer still')
  await clock.pass(200)
  clearInterval(noise)
  await client.closed
  t.strictSame(statsOf(app).closed, { disconnected: 1 })
})

t.test('the slot of a closed connection is free before the call returns', async (t) => {
  for (const how of ['disconnect', 'revoke'] as const) {
    const { app, connect, port } = await startChat(t, { plugin: { limits: { perUser: 1 } } })
    const status = async (iat: number): Promise<number> => (await upgrade(t, port, { path: '/chat', ...bearer({ sub: 'ann', iat }) })).answer.status
    await connect(sign({ sub: 'ann', iat: seconds(-10) }))
    t.equal(await status(seconds(-5)), 429)
    if (how === 'revoke') void app.wsAuth.revoke({ sub: 'ann', beforeAt: seconds(-6) * 1000 })
    else void app.wsAuth.disconnect({ sub: 'ann' })
    t.equal(app.wsAuth.connections.size, 0)
    t.equal(await status(seconds(-2)), 101, how)
    t.equal(await status(seconds(-2)), 429, 'one slot, not two')
  }
})

t.test('a user revoked in the middle of a handshake takes no slot, and replaces no connection', async (t) => {
  for (const onLimit of ['reject', 'close-oldest'] as const) {
    const held = hold()
    let isHeld = false
    const { app, connect, port } = await startChat(t, {
      plugin: { limits: { perUser: 1, onLimit } },
      wsAuth: { authorize: async ({ jti }: Record<string, unknown>) => { if (jti === 'slow') { isHeld = true; await held.wait() } return true } } as never
    })
    const good = await connect(sign({ sub: 'ann', jti: 'good' }))
    if (onLimit === 'reject') await app.wsAuth.disconnect({ jti: 'good' })
    const slow = upgrade(t, port, { path: '/chat', ...bearer({ sub: 'ann', jti: 'slow' }) })
    await eventually(() => isHeld, 'its user is asked for')
    await app.wsAuth.revoke({ jti: 'slow' })
    held.release()
    t.strictSame(await (await slow).close(), { code: 3000, reason: 'token_revoked' })
    if (onLimit === 'close-oldest') t.ok(await good.isHeard(), 'the oldest did not have to make room for it')
    else t.ok(await (await connect(sign({ sub: 'ann', jti: 'next' }))).isHeard())
    t.equal(app.wsAuth.connections.size, 1)
  }
})

t.test('a disconnect does not reach a connection that is not open yet, because its token is good', async (t) => {
  const held = hold()
  let isHeld = false
  const { app, port } = await startChat(t, { wsAuth: { authorize: async () => { isHeld = true; await held.wait(); return true } } })
  const slow = upgrade(t, port, { path: '/chat', ...bearer() })
  await eventually(() => isHeld, 'its user is asked for')
  t.equal((await app.wsAuth.disconnect({ sub: 'ann' })).closed, 0)
  held.release()
  t.equal((await slow).answer.status, 101)
  await eventually(() => app.wsAuth.connections.size === 1, 'it is open')
})

t.test('a handler may disconnect its own connection, and a listener all others of its user', async (t) => {
  const { app, port } = await start(t, {
    routes: (app) => {
      app.get('/self', { websocket: true }, (socket, { wsAuth }) => {
        void app.wsAuth.disconnect({ id: wsAuth?.id as string }, { code: 4001, reason: 'not you' })
        socket.send('never sent')
      })
      app.get('/last', { websocket: true }, (socket) => { socket.on('close', () => { void app.wsAuth.disconnect({ sub: 'ann' }) }) })
    }
  })
  const self = await upgrade(t, port, { path: '/self', ...bearer() })
  t.strictSame(await self.close(), { code: 4001, reason: 'not you' })
  const clients = [await upgrade(t, port, { path: '/last', ...bearer() }), await upgrade(t, port, { path: '/last', ...bearer() }), await upgrade(t, port, { path: '/last', ...bearer() })]
  clients[0]?.socket.destroy()
  for (const client of clients.slice(1)) t.strictSame(await client.close(), DISCONNECTED)
  t.strictSame(statsOf(app).closed, { disconnected: 3, lost: 1 })
})

t.test('the first of two commands about one connection closes it', async (t) => {
  const { app, connect } = await startChat(t)
  const chat = await connect(sign(CLAIMS))
  const results = await Promise.all([app.wsAuth.disconnect({ sub: 'ann' }, { code: 4000 }), app.wsAuth.revoke({ sub: 'ann' }), app.wsAuth.disconnect({ id: chat.connection.id }, { code: 4001 })])
  t.strictSame(results.map(({ closed }) => closed), [1, 0, 0])
  t.strictSame(await closeOf(chat), { code: 4000, reason: 'disconnected' })
  t.strictSame(statsOf(app).closed, { disconnected: 1 })
})

t.test('a disconnect by id finds a connection on any instance', async (t) => {
  const backplane = memoryBackplane()
  const [one, two] = [await startChat(t, { plugin: { backplane } }), await startChat(t, { plugin: { backplane, closeCodes: { forbidden: 4403 } } })]
  const chat = await two.connect(sign(CLAIMS))
  const other = await two.connect(sign(CLAIMS))
  const { closed, instances } = await one.app.wsAuth.disconnect({ id: chat.connection.id })
  t.equal(closed, 1)
  t.strictSame(instances.map(({ answered, closed }) => ({ answered, closed })), [{ answered: true, closed: 0 }, { answered: true, closed: 1 }])
  t.strictSame(await closeOf(chat), { code: 4403, reason: 'disconnected' }, 'with the code of the route where it is')
  t.ok(await other.isHeard())
})

t.test('a socket that injectWS has opened is closed like any other', async (t: Test) => {
  const { app } = await startChat(t)
  const client = await app.injectWS('/chat', bearer()) as WebSocket
  const closed = new Promise((resolve) => client.on('close', (code, reason) => resolve({ code, reason: String(reason) })))
  t.equal((await app.wsAuth.disconnect({ jti: 'j1' })).closed, 1)
  t.strictSame(await within(60_000, 'its close', closed), DISCONNECTED)
  // An injected client never ends its half: without this the app would wait 5 s for it.
  for (const socket of app.websocketServer.clients) socket.terminate()
})
