/*
 * What a hostile client sends behind a handshake, half a handshake, and a client that leaves in the middle of one.
 */
import t from 'tap'
import { sign, until } from '../helpers/app'
import { addGreeter, assertRows, AUTHORIZED, BAD, changed, SMUGGLED, SMUGGLED_UPGRADE, startTarget, tried, tryRows } from '../helpers/hostile-rows'
import { ACCEPTED, INVALID, NO_HTTP, NO_WEBSOCKET, NOT_FOUND, WRONG_VERSION } from '../helpers/hostile-target'
import { clientFrame, RawClient, requestText } from '../helpers/raw-client'

t.test('data behind a refused handshake reaches no handler', async (t) => {
  const target = await startTarget(t, {
    plugin: { user: async (claims) => { await new Promise((resolve) => setTimeout(resolve, 20)); return claims.sub === 'nobody' ? null as never : claims } },
    routes: (app, ran) => {
      addGreeter(app, ran, '/closing', { rejectWith: 'close' })
      addGreeter(app, ran, '/echo', true)
    }
  })
  const nobody = { authorization: `Bearer ${sign({ sub: 'nobody' })}` }
  const refused = requestText({ path: '/echo', headers: { authorization: `Bearer ${BAD}` } })
  const refusedLater = requestText({ path: '/echo', headers: nobody })
  const frames = Buffer.concat([clientFrame(1, 'hello'), clientFrame(9, 'ping'), clientFrame(8, Buffer.from([3, 232]))]).toString('latin1')
  tryRows(t, target, [
    ['a request', refused + SMUGGLED, INVALID],
    ['a good handshake', refused + SMUGGLED_UPGRADE, INVALID],
    ['frames', refused + frames, INVALID],
    ['frames, while it is verified', refusedLater + frames, INVALID],
    ['a request, while it is verified', refusedLater + SMUGGLED, INVALID],
    ['100 requests, while it is verified', refusedLater + SMUGGLED.repeat(100), INVALID],
    ['a request behind no handshake', changed('sec-websocket-version: 13', 'sec-websocket-version: 12') + SMUGGLED, WRONG_VERSION],
    ['a good handshake behind an upgrade of another route', requestText({ path: '/http', headers: AUTHORIZED }) + SMUGGLED_UPGRADE, NO_WEBSOCKET],
    ['a good handshake behind one that is not found', requestText({ path: '/none', headers: AUTHORIZED }) + SMUGGLED_UPGRADE, NOT_FOUND],
    ['a good handshake behind bytes that are not HTTP', `nonsense\r\n\r\n${SMUGGLED_UPGRADE}`, NO_HTTP],
    ['binary noise', refused + Buffer.alloc(4096, 0xa5).toString('latin1'), INVALID]
  ])
  for (const [what, behind] of [['frames', frames], ['a request', SMUGGLED], ['a good handshake', SMUGGLED_UPGRADE]] as const) {
    tried.push(`closed: ${what}`)
    t.test(`data behind a handshake that is accepted to be closed reaches no handler: ${what}`, async (t) => {
      target.told.length = 0
      const client = await RawClient.open(t, target.port)
      client.send(requestText({ path: '/closing', headers: nobody }) + behind)
      t.equal((await client.response(false)).status, 101)
      t.strictSame(await client.close(), { code: 3000, reason: 'token_invalid' })
      await client.ended
      t.notMatch(client.text, 'hello')
      t.notMatch(client.text, 'HTTP/1.1 2')
      t.strictSame(target.ran, [])
      t.strictSame(target.told, ['WS_AUTH_TOKEN_INVALID'])
      client.socket.destroy()
      await until(() => target.isAtRest, 'nothing is pending')
    })
  }
})

t.test('a request behind an accepted handshake is read as a bad frame', async (t) => {
  const target = await startTarget(t, { routes: (app, ran) => addGreeter(app, ran, '/echo', true) })
  const accepted = requestText({ path: '/echo', headers: AUTHORIZED })
  const noLength = requestText({ path: '/echo', headers: { ...AUTHORIZED, 'content-length': '0' } })
  for (const [what, text] of [['a request', accepted + SMUGGLED], ['another handshake', accepted + SMUGGLED_UPGRADE], ['a request behind Content-Length: 0', noLength + SMUGGLED]] as const) {
    tried.push(`accepted: ${what}`)
    t.test(`a request behind an accepted handshake is read as a bad frame: ${what}`, async (t) => {
      const client = (await RawClient.open(t, target.port)).send(text)
      t.equal((await client.response(false)).status, 101)
      t.equal((await client.frame()).payload.toString(), 'hello from header')
      t.strictSame(await client.close(), { code: 1002, reason: '' }, 'a protocol error of websockets')
      client.send(clientFrame(8, Buffer.from([3, 234])))
      await client.ended
      t.equal(client.rest.length, 0)
      t.strictSame(target.ran.splice(0), ['handler'])
      client.socket.destroy()
      await until(() => target.isAtRest, 'no client is connected')
    })
  }
})

t.test('the server answers half a handshake with 408 after requestTimeout', async (t) => {
  const http = { headersTimeout: 200, requestTimeout: 200, connectionsCheckingInterval: 50 }
  const target = await startTarget(t, { server: { http, requestTimeout: 200 } as never })
  const text = requestText({ path: '/chat', headers: AUTHORIZED })
  tryRows(t, target, [
    ['a letter', 'G', { status: 408 }],
    ['half a line', 'GET /chat', { status: 408 }],
    ['a line', 'GET /chat HTTP/1.1\r\n', { status: 408 }],
    ['half the headers', text.slice(0, 120), { status: 408 }],
    ['all but the last newline', text.slice(0, -1), { status: 408 }],
    ['all but the empty line', text.slice(0, -2), { status: 408 }]
  ])
})

t.test('a client that leaves in the middle of a handshake leaves nothing pending', async (t) => {
  const target = await startTarget(t)
  const text = requestText({ path: '/chat', headers: AUTHORIZED })
  const places: Record<string, number> = {
    nothing: 0,
    'a letter': 1,
    'the method': 4,
    'half the path': 6,
    'the path': 9,
    'half the version': 14,
    'the CR of the first line': 19,
    'the first line': 20,
    'half a name': text.indexOf('connection') + 4,
    'a colon': text.indexOf(':') + 1,
    'half the key': text.indexOf('dGhl') + 9,
    'half the token': text.length - 20,
    'the last header': text.length - 2,
    'all but the last newline': text.length - 1
  }
  for (const [what, length] of Object.entries(places)) {
    for (const way of ['end', 'resetAndDestroy'] as const) {
      tried.push(`${way} behind ${what}`)
      t.test(`a client that leaves behind ${what}, by ${way}, leaves nothing pending`, async (t) => {
        target.told.length = 0
        const client = (await RawClient.open(t, target.port)).send(text.slice(0, length))
        await new Promise((resolve) => client.socket.write('', resolve))
        client.socket[way]()
        await client.ended
        t.notMatch(client.text, '101')
        await until(() => target.isAtRest, 'nothing is pending')
        t.strictSame(target.ran, [])
        t.strictSame(target.told, [])
      })
    }
  }
  t.test('the server keeps no connection of clients that left', async (t) => {
    let connections = Infinity
    const count = (): number => { target.app.server.getConnections((_error, found) => { connections = found }); return connections }
    await until(() => count() === 0, 'the server has no connection')
    t.equal(connections, 0)
  })
  t.test('the server accepts a good handshake after other clients left', async (t) => { await target.answers(t, text, ACCEPTED) })
})

t.test('the attack table has all of its rows, each once', async (t) => { assertRows(t, 51) })
