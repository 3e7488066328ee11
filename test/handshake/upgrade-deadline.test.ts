/*
 * A handshake that takes longer than handshakeTimeout is answered 503, whichever step hangs, and nothing runs after that.
 */
import { IncomingMessage, ServerResponse } from 'node:http'
import { PassThrough } from 'node:stream'
import t from 'tap'
import { prepare, start, until, within } from '../helpers/app'
import type { AppSettings } from '../helpers/app'
import { addChat, AUTHORIZED, greeting, heldVerifier, turns, UNAVAILABLE } from '../helpers/chat'
import { clientFrame, upgrade } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const never = async (): Promise<never> => await new Promise(() => {})

t.test('a handshake that takes longer than handshakeTimeout is 503', async (t) => {
  const places: Record<string, AppSettings> = {
    'the verifier': { plugin: { verify: never } },
    'a user function': { plugin: { user: never } },
    'a hook before': { before: (app) => app.addHook('onRequest', never) },
    'a hook after': { before: (app) => app.addHook('preHandler', never) }
  }
  for (const [place, { plugin, ...settings }] of Object.entries(places)) {
    for (const rejectWith of ['http', 'close', 'auto'] as const) {
      t.test(`a handshake is 503 if ${place} hangs, with rejectWith '${rejectWith}'`, async (t) => {
        const { app, port } = await start(t, { ...settings, plugin: { ...plugin, rejectWith, origin: 'any', handshakeTimeout: 50 }, routes: addChat })
        const client = await upgrade(t, port, { path: '/chat', headers: { ...AUTHORIZED, origin: 'https://example.com' } })
        t.equal(client.answer.status, 503)
        t.equal(client.answer.body, UNAVAILABLE)
        t.equal(client.answer.headers['content-type'], 'application/json; charset=utf-8')
        t.equal(client.answer.headers.connection, 'close')
        await client.ended
        t.equal(client.rest.length, 0, 'nothing comes after the answer')
        t.equal(statsOf(app).pending, 0)
        t.equal(statsOf(app).accepted, 0)
      })
    }
  }

  t.test('a handshake is 503 if the validation of the claims never ends', async (t) => {
    const { port } = await start(t, {
      server: { schemaController: { compilersFactory: { buildValidator: () => () => never as never } } },
      plugin: { claims: { type: 'object' }, handshakeTimeout: 50 },
      routes: addChat
    })
    t.equal((await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })).answer.body, UNAVAILABLE)
  })

  t.test('a dry run is 503 if the verifier hangs', async (t) => {
    const { app } = await prepare(t, { plugin: { verify: never, rejectWith: 'close', handshakeTimeout: 50 }, routes: addChat })
    const answer = await within(2000, 'an answer', app.inject({ url: '/chat', headers: AUTHORIZED }))
    t.equal(answer.statusCode, 503)
    t.equal(answer.body, UNAVAILABLE)
  })

  t.test('a dry run whose response has no socket yet is 503 if the verifier hangs', async (t) => {
    const { app } = await prepare(t, { plugin: { verify: never, handshakeTimeout: 50 }, routes: addChat })
    // As a library does that calls `app.routing` with requests of its own transport.
    const request = Object.assign(new IncomingMessage(new PassThrough() as never), { method: 'GET', url: '/chat', headers: { host: 'app.example', ...AUTHORIZED } })
    const response = new ServerResponse(request)
    app.routing(request, response)
    await until(() => response.writableEnded, 'the answer')
    t.equal(response.statusCode, 503)
    t.equal(app.wsAuth.stats().pending, 0)
  })

  t.test('a handshake by injectWS is 503 if the verifier hangs', async (t) => {
    const { app } = await prepare(t, { plugin: { verify: never, handshakeTimeout: 50 }, routes: addChat })
    await t.rejects(within(2000, 'an answer', app.injectWS('/chat', { headers: AUTHORIZED })), { message: 'Unexpected server response: 503' })
    t.equal(statsOf(app).pending, 0)
  })

  t.test('the log has the reason of a handshake that took too long', async (t) => {
    const { port, log } = await start(t, { plugin: { verify: never, handshakeTimeout: 50 }, routes: addChat })
    await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
    t.ok(log.some((line) => line.includes('the handshake took longer than handshakeTimeout')))
  })

  for (const settle of ['resolves', 'rejects'] as const) {
    t.test(`a verifier that ${settle} after the deadline has no effect`, async (t) => {
      const { verify, asked, ...held } = heldVerifier()
      const ran: string[] = []
      const { app, port } = await start(t, {
        plugin: { verify, handshakeTimeout: 50, user: () => { ran.push('user'); return {} } },
        routes: (app) => {
          app.addHook('preHandler', async () => { ran.push('preHandler') })
          app.get('/chat', { websocket: true, wsAuth: { authorize: () => { ran.push('authorize'); return true } } }, () => { ran.push('handler') })
        }
      })
      const { answer, closed } = await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
      t.equal(answer.status, 503)
      t.equal(asked[0]?.aborted, true, 'the verifier was told')
      if (settle === 'resolves') held.settle({ sub: 'late' })
      else held.reject(new Error('late'))
      await turns()
      await Promise.race([closed, app.close()])
      // Neither the steps after the one that hung, which may look up or reserve something for nobody.
      t.same(ran, [], 'nothing runs any more')
      t.same(statsOf(app).refused, { WS_AUTH_UNAVAILABLE: 1 }, 'it is refused once')
    })
  }

  t.test('a hook that settles after the deadline has no effect', async (t) => {
    let release = (): void => {}
    const hook = new Promise<void>((resolve) => { release = resolve })
    const ran: string[] = []
    const { app, port } = await start(t, {
      plugin: { verify: () => { ran.push('verify'); return { sub: 'x' } }, handshakeTimeout: 50 },
      before: (app) => app.addHook('onRequest', async () => { await hook }),
      routes: (app) => { app.get('/chat', { websocket: true }, () => { ran.push('handler') }) }
    })
    const client = await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
    t.equal(client.answer.body, UNAVAILABLE)
    release()
    await turns()
    await client.ended
    t.equal(client.rest.length, 0, 'one answer and no other')
    // The hook is behind the deadline, and so is all that comes after it.
    t.same(ran, [], 'neither the verifier nor the handler runs any more')
    t.equal(statsOf(app).accepted, 0)
  })

  t.test('the deadline of a handshake does not end an open connection', async (t) => {
    const { app, port } = await start(t, {
      plugin: { verify: (token: string) => token === 'hang' ? never() : { sub: 'x' }, handshakeTimeout: 100 },
      routes: addChat
    })
    const open = await upgrade(t, port, { path: '/chat', headers: { authorization: 'Bearer good' } })
    t.equal(open.answer.status, 101)
    await greeting(open)
    t.equal(statsOf(app).pending, 0)
    for (let i = 0; i < 3; i++) {
      const late = await upgrade(t, port, { path: '/chat', headers: { authorization: 'Bearer hang' } })
      t.equal(late.answer.status, 503, 'one that began later has had its deadline')
    }
    open.send(clientFrame(1, 'still here'))
    t.equal(await greeting(open), 'still here')
    t.equal(statsOf(app).connections, 1)
  })

  t.test('the deadline of a handshake does not end an open connection of a public route', async (t) => {
    const { app, port } = await start(t, {
      plugin: { verify: never, handshakeTimeout: 100 },
      routes: (app) => { addChat(app, '/public', false); addChat(app) }
    })
    const open = await upgrade(t, port, { path: '/public' })
    await greeting(open)
    t.equal(statsOf(app).pending, 0)
    t.equal((await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })).answer.status, 503)
    open.send(clientFrame(1, 'still here'))
    t.equal(await greeting(open), 'still here')
  })
})
