/*
 * Libraries that come back by themselves, each with the class of `webSocketClass()` against its real server behind fastify-ws-auth: all
 * four on one Fastify.
 */
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { webSocketClass } from '../../lib/client/index'
import type { Ask, Credential, WebSocketLike } from '../../lib/client/index'
import { sign, until } from '../helpers/app'
import { libraries } from '../helpers/libraries/clients'
import type { Library, LibraryClient } from '../helpers/libraries/clients'
import { startLibraryServer } from '../helpers/libraries/server'
import type { LibraryServer } from '../helpers/libraries/server'

const now = Math.floor(Date.now() / 1000)

/** A token of a user. @param seconds its life, from the start of these tests; negative for one that has expired */
function tokenOf (sub: string, seconds = 600, roles = ['member'], iat = now): string {
  return sign({ sub, roles, iat, exp: now + seconds })
}

/** A token of a user for five to six seconds, with a hint at least one and a half before its end. */
function shortToken (sub: string): string {
  const second = Math.floor(Date.now() / 1000)
  return sign({ sub, roles: ['member'], iat: second - 24, exp: second + 6 })
}

interface Opened {
  readonly library: Library
  readonly client: LibraryClient
  /** The user of the token: one for each library. */
  readonly sub: string
  /** Why each token was asked for. */
  readonly asked: string[]
  readonly handshakes: () => number
}

/** Opens a client with the tokens that a function gives for each call. */
async function open (t: Test, started: LibraryServer, library: Library, give: (call: number, sub: string) => Credential): Promise<Opened> {
  const [asked, sub]: [string[], string] = [[], library.name]
  const token: Ask = ({ why, code }) => {
    asked.push(`${why} ${code ?? ''}`.trim())
    return give(asked.length, sub)
  }
  const create = (url: string, protocols: string[]): WebSocketLike => new WebSocket(url, protocols) as never
  const socketClass = webSocketClass({ token, create, closeCodes: library.closeCodes })
  const client = await library.open(t, started, socketClass)
  return { library, client, sub, asked, handshakes: () => started.handshakes(library.path(started)) }
}

/** A test of all four libraries at once, on one server. */
function testEach (title: string, give: (call: number, sub: string) => Credential, run: (t: Test, opened: Opened, started: LibraryServer) => Promise<void>): void {
  void t.test(title, async (t) => {
    const started = await startLibraryServer(t)
    await Promise.all(libraries.map(async (library) => await run(t, await open(t, started, library, give), started)))
  })
}

t.jobs = 6

testEach('a library notices nothing of two renewals', (_call, sub) => shortToken(sub), async (t, { library: { name }, client, asked, handshakes }) => {
  await client.work()
  await until(() => asked.length === 3, `${name} has asked for three tokens`)
  await pause(1500)
  await client.work()
  t.strictSame([client.told, handshakes()], [[], 1], name)
  t.strictSame(asked.slice(0, 3), ['connect', 'renew', 'renew'], name)
})

testEach('a library notices nothing of a first token that has expired', (call, sub) => tokenOf(sub, call === 1 ? -10 : 600), async (t, { library: { name }, client, asked, handshakes }) => {
  await client.work()
  t.strictSame([client.told, handshakes(), asked], [[], 2, ['connect', 'rejected WS_AUTH_TOKEN_EXPIRED']], name)
})

/** A token that was signed with the key of another server. */
function foreignToken (sub: string, number: number): string {
  return sign({ sub, number, roles: ['member'], exp: now + 600 }, 'thirty-two bytes of other secret')
}

testEach('a library gives up, or rests, after two refused tokens', (call, sub) => foreignToken(sub, Math.min(call, 2)), async (t, { library: { name, closeCodes }, client, asked, handshakes }) => {
  if (closeCodes.unauthorized !== undefined) t.equal(await client.gaveUp, '4401 token_invalid', name)
  else await until(() => asked.length >= 5, `${name} goes on asking for tokens`)
  t.equal(handshakes(), 2, `${name} does not use the network again`)
  t.strictSame(asked.slice(0, 2), ['connect', 'rejected WS_AUTH_TOKEN_INVALID'], name)
})

testEach('a library gives up, or rests, if the user may not connect', (_call, sub) => tokenOf(sub, 600, []), async (t, { library: { name, closeCodes }, client, handshakes }) => {
  if (closeCodes.forbidden !== undefined) t.equal(await client.gaveUp, `${closeCodes.forbidden} forbidden`, name)
  else await until(() => client.told.filter((each) => each.startsWith('closed')).length >= 3, `${name} is closed again and again`)
  t.equal(handshakes(), 1, `${name} does not use the network again`)
})

testEach('a library stops if its token is revoked and no user is logged in', (call, sub) => call === 1 ? tokenOf(sub) : null, async (t, { library: { name, closeCodes }, client, sub, asked, handshakes }, { server }) => {
  await client.work()
  await server.app.wsAuth.revoke({ sub })
  if (closeCodes.unauthorized !== undefined) t.equal(await client.gaveUp, '4401 token_revoked', name)
  else await until(() => asked.length >= 4, `${name} goes on asking for tokens`)
  t.strictSame([handshakes(), client.told[0], asked[1]], [1, 'closed 3000', 'rejected WS_AUTH_TOKEN_REVOKED'], name)
})

testEach('a library works after the user of a revoked token has logged in again', (call, sub) => tokenOf(sub, 600, ['member'], call === 1 ? now - 5 : Math.floor(Date.now() / 1000) + 1), async (t, { library: { name }, client, sub, handshakes }, { server }) => {
  await client.work()
  await server.app.wsAuth.revoke({ sub })
  await until(() => client.told.includes('closed 3000'), `${name} is told of the end`)
  await client.work()
  t.equal(handshakes(), 2, name)
})

void t.test('a library comes back with the same token to a server that was away', async (t) => {
  const started = await startLibraryServer(t)
  const all = await Promise.all(libraries.map(async (library) => await open(t, started, library, (_call, sub) => tokenOf(sub))))
  await Promise.all(all.map(async ({ client }) => await client.work()))
  await started.server.stop()
  await pause(1500)
  await started.server.start()
  await Promise.all(all.map(async ({ library: { name }, client, asked, handshakes }) => {
    await client.work()
    t.strictSame([handshakes(), asked], [2, ['connect']], name)
  }))
})
