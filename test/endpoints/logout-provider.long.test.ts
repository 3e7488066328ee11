/*
 * OpenID Connect Back-Channel Logout 1.0 with a real provider: which connections a logout there closes, on which instances.
 */
import { createPublicKey, KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TokenOrHeader } from '@fastify/jwt'
import type { FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { redisBackplane } from '../../lib/backplane/redis/index'
import { mint } from '../helpers/keys'
import { CLIENT, countIn, INVALID, isClosed, ISSUER, LOGGED_OUT, logOut, logoutToken, memoryBackplane, PATH, publicKey, refusalOf, REVOKED, startClient, TRY_AGAIN } from '../helpers/logout-chat'
import type { Plugin } from '../helpers/logout-chat'
import { AUDIENCE, startProvider } from '../helpers/provider'
import type { Login, OpenIdProvider, ProviderClient } from '../helpers/provider'
import { reasonToSkip, startRedis } from '../helpers/redis'
import { startChat } from '../helpers/renewal-app'
import type { Chat, ChatApp } from '../helpers/renewal-app'
import { statsOf } from '../helpers/stats'

/** The options of the README for an issuer with a JWKS. */
async function jwksOptions ({ issuer, jwksUri }: Pick<OpenIdProvider, 'issuer' | 'jwksUri'>): Promise<NonNullable<Plugin['jwt']>> {
  const { createRemoteJWKSet } = await import('jose')
  const jwks = createRemoteJWKSet(new URL(jwksUri))
  return {
    secret: async (_request: FastifyRequest, token: TokenOrHeader) => KeyObject.from(await jwks(headerOf(token))).export({ type: 'spki', format: 'pem' }),
    decode: { complete: true },
    verify: { algorithms: ['RS256', 'ES256'], allowedIss: issuer, allowedAud: [AUDIENCE, CLIENT] }
  }
}

function headerOf (token: TokenOrHeader): { alg: string, kid?: string } {
  const { alg, kid } = 'header' in token ? token.header as { alg: string, kid?: string } : token
  return { alg, kid }
}

interface Fleet {
  readonly provider: OpenIdProvider
  readonly apps: readonly [ChatApp, ChatApp]
}

/** A provider, and two instances of which it knows the first. */
async function startFleet (t: Test, backplanes: () => fastifyWsAuth.Backplane, client: Partial<ProviderClient> = {}, match: 'sid' | 'sub' = 'sid'): Promise<Fleet> {
  const provider = await startProvider(t)
  const startOne = async (): Promise<ChatApp> => await startChat(t, {
    plugin: { jwt: await jwksOptions(provider), backplane: backplanes(), backChannelLogout: { path: PATH, issuer: provider.issuer, audience: CLIENT, match } }
  })
  const apps = [await startOne(), await startOne()] as const
  await provider.open([{ id: CLIENT, logoutUri: `http://127.0.0.1:${apps[0].port}${PATH}`, ...client }])
  return { provider, apps }
}

function shared (): () => fastifyWsAuth.Backplane {
  const backplane = memoryBackplane()
  return () => backplane
}

async function connectBoth ({ apps }: Fleet, { accessToken }: Login): Promise<Chat[]> {
  return [await apps[0].connect(accessToken), await apps[1].connect(accessToken)]
}

/** Who logs out at the provider is logged out on both instances, and nobody else. */
async function testLogout (t: Test, fleet: Fleet): Promise<void> {
  const { provider, apps } = fleet
  const first = await provider.logIn('ann', CLIENT, 'RS256')
  const sameLogin = await first.enter(CLIENT, 'ES256')
  const second = await provider.logIn('ann', CLIENT, 'ES256')
  const other = await provider.logIn('bea', CLIENT, 'RS256')
  t.match([first, sameLogin, second].map(({ claims }) => claims), [{ sid: /./ }, { sid: first.claims.sid as string }, { sid: /./ }])
  t.not(second.claims.sid, first.claims.sid, 'another login has another sid')
  const gone = [...await connectBoth(fleet, first), ...await connectBoth(fleet, sameLogin)]
  const staying = [...await connectBoth(fleet, second), ...await connectBoth(fleet, other)]

  await first.logOut()
  t.same(provider.outcomes, ['success'])
  for (const chat of gone) t.same(await isClosed(chat), REVOKED)
  for (const { port } of apps) {
    t.equal(await refusalOf(port, first.accessToken), 'WS_AUTH_TOKEN_REVOKED')
    t.equal(await refusalOf(port, sameLogin.accessToken), 'WS_AUTH_TOKEN_REVOKED')
    t.equal(await refusalOf(port, second.accessToken), 'none')
  }
  for (const chat of staying) t.ok(await chat.isHeard(), `${String(chat.connection.sub)} stays`)
  t.same(apps.map(({ app }) => statsOf(app).connections), [2, 2])

  const again = await first.enter(CLIENT)
  t.equal(await refusalOf(apps[1].port, again.accessToken), 'none', 'she can log in again at once')
}

t.test('a logout at a real provider closes connections', async (t) => {
  t.test('a logout at the provider closes the connections of that login on all instances', async (t) => {
    await testLogout(t, await startFleet(t, shared()))
  })

  t.test('a logout by an ES256 logout token closes the connections of that login on all instances', async (t) => {
    await testLogout(t, await startFleet(t, shared(), { algorithm: 'ES256' }))
  })

  t.test('a logout closes the connections of that login on all instances with Redis', { skip: reasonToSkip() }, async (t) => {
    const redis = await startRedis(t)
    await testLogout(t, await startFleet(t, () => redisBackplane({ client: redis.client() })))
  })

  for (const [name, client, match] of [
    ['whose logout tokens have no sid', { wantsSid: false }, 'sid'],
    ['whose access tokens have no sid, with match \'sub\'', { hasSid: false }, 'sub']
  ] as const) {
    t.test(`a logout at a provider ${name} closes all connections of the user`, async (t) => {
      const fleet = await startFleet(t, shared(), client, match)
      const logins = [await fleet.provider.logIn('ann', CLIENT, 'RS256'), await fleet.provider.logIn('ann', CLIENT, 'ES256')] as const
      const other = await connectBoth(fleet, await fleet.provider.logIn('bea', CLIENT))
      t.same(logins.map(({ claims }) => claims.sid), [undefined, undefined])
      const gone = [...await connectBoth(fleet, logins[0]), ...await connectBoth(fleet, logins[1])]
      await logins[0].logOut()
      t.same(fleet.provider.outcomes, ['success'])
      for (const chat of gone) t.same(await isClosed(chat), REVOKED)
      t.equal(await refusalOf(fleet.apps[1].port, logins[1].accessToken), 'WS_AUTH_TOKEN_REVOKED')
      for (const chat of other) t.ok(await chat.isHeard())
    })
  }

  t.test('a logout at a provider whose access tokens have no sid closes no connection if match is \'sid\'', async (t) => {
    const fleet = await startFleet(t, shared(), { hasSid: false })
    const login = await fleet.provider.logIn('ann', CLIENT)
    const chats = await connectBoth(fleet, login)
    await login.logOut()
    t.same(fleet.provider.outcomes, ['success'])
    for (const chat of chats) t.ok(await chat.isHeard())
  })

  t.test('a provider learns that the logout has failed if the app is closed', async (t) => {
    const fleet = await startFleet(t, shared())
    const login = await fleet.provider.logIn('ann', CLIENT)
    const [chat] = await connectBoth(fleet, login)
    await fleet.apps[0].app.close()
    await login.logOut()
    t.match(fleet.provider.outcomes, [/fetch failed|503/])
    t.equal((await isClosed(chat as Chat)).code, 1001)
  })

  t.test('a claims schema refuses the ID tokens of a provider and accepts its logout tokens', async (t) => {
    const provider = await startProvider(t)
    const { app, port, connect } = await startChat(t, {
      plugin: {
        jwt: await jwksOptions(provider),
        claims: { type: 'object', required: ['aud'], properties: { aud: { const: AUDIENCE } } },
        backChannelLogout: { path: PATH, issuer: provider.issuer, audience: CLIENT }
      }
    })
    await provider.open([{ id: CLIENT, logoutUri: `http://127.0.0.1:${port}${PATH}` }])
    const login = await provider.logIn('ann', CLIENT)
    const chat = await connect(login.accessToken)
    t.equal(await refusalOf(port, login.idToken), 'WS_AUTH_TOKEN_INVALID')
    t.same(await logOut(port, login.idToken), INVALID, 'nor is one a logout token')
    t.same(await logOut(port, login.accessToken), INVALID)
    t.equal(statsOf(app).connections, 1)
    await login.logOut()
    t.same(await isClosed(chat), REVOKED)
  })
})

t.test('a logout can be tried again if the keys of the provider cannot be fetched', async (t) => {
  const jwk = { ...createPublicKey(publicKey).export({ format: 'jwk' }), kid: 'one', alg: 'RS256', use: 'sig' }
  const waiting: ServerResponse[] = []
  let state: 'up' | 'broken' | 'failing' | 'nonsense' | 'hanging' = 'up'
  const server = createServer((request, response) => {
    if (state === 'broken') request.socket.destroy()
    else if (state === 'failing') response.writeHead(500).end()
    else if (state === 'nonsense') response.end('<html>')
    else if (state === 'hanging') waiting.push(response)
    else response.end(JSON.stringify({ keys: [jwk] }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close(); server.closeAllConnections() })
  const jwksUri = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks`

  for (const how of ['broken', 'failing', 'nonsense', 'hanging'] as const) {
    t.test(`a logout can be tried again if the key server fails (${how})`, async (t) => {
      const jwt = await jwksOptions({ issuer: ISSUER, jwksUri })
      const { port, log } = await startClient(t, { plugin: { jwt, handshakeTimeout: 3000 } })
      const token = logoutToken({}, { kid: 'one' })
      state = how
      t.same(await logOut(port, token), TRY_AGAIN)
      t.equal(countIn(log, 'back-channel logout failed'), 1)
      t.equal(countIn(log, token), 0)
      state = 'up'
      for (const response of waiting) response.end(JSON.stringify({ keys: [jwk] }))
      t.same(await logOut(port, token), LOGGED_OUT)
      t.equal(await refusalOf(port, mint({ iss: ISSUER, aud: AUDIENCE, sub: 'ann', sid: 'first' }, { kid: 'one' }, 'RS256')), 'WS_AUTH_TOKEN_REVOKED')
      t.same(await logOut(port, token), INVALID, 'and once')
      t.same(await logOut(port, logoutToken({}, { kid: 'two' })), INVALID, 'a key that does not exist is the fault of the token')
    })
  }
})
