/*
 * The recipes of example/, each run as its first comment says.
 */
import { once } from 'node:events'
import t from 'tap'
import { WebSocket } from 'ws'
import { buildPackage, startFile } from '../helpers/example'
import { RESOURCE_SERVER, startProvider } from '../helpers/provider'
import { runNode } from '../helpers/run-alone'

const ROOT = process.cwd()
const CLIENT = 'web'

t.before(buildPackage)

function post (url: string, body: object, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) })
}

async function cookieOf (url: string, name: string): Promise<string> {
  return (await post(`${url}/login`, { name })).headers.getSetCookie()[0]?.split(';')[0] ?? ''
}

/** A connection that has been greeted, and what it will be closed with. */
async function enter (url: string, headers: Record<string, string>, query = ''): Promise<{ greeting: string, closed: Promise<string> }> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/chat${query}`, { headers })
  const closed = once(socket, 'close').then(([code, reason]) => `${code} ${reason}`)
  const [greeting] = await once(socket, 'message')
  return { greeting: String(greeting), closed }
}

/** The code that a handshake is refused with, by a dry run of it. */
async function refusalOf (url: string, headers: Record<string, string>, query = ''): Promise<string | undefined> {
  return (await (await fetch(`${url}/chat${query}`, { headers })).json() as { code?: string }).code
}

t.test('cookie-login-and-plain-routes: a cookie opens a plain route and a socket, and a logout ends both', async (t) => {
  const { url, output } = await startFile(t, 'recipes/cookie-login-and-plain-routes.js')
  t.equal((await post(`${url}/login`, { name: 'mallory' })).status, 401)
  const [cookie, other] = [await cookieOf(url, 'ann'), await cookieOf(url, 'ann')]
  t.same(await (await fetch(`${url}/me`, { headers: { cookie } })).json(), { name: 'ann', roles: ['member'] })
  const [here, there] = [await enter(url, { cookie }), await enter(url, { cookie: other })]
  t.equal(here.greeting, 'hello ann')

  t.equal((await post(`${url}/logout`, {}, { cookie })).status, 204)
  t.equal(await here.closed, '3000 token_revoked')
  t.equal((await fetch(`${url}/me`, { headers: { cookie } })).status, 401)
  t.equal(await refusalOf(url, { cookie }), 'WS_AUTH_TOKEN_REVOKED')
  t.equal((await fetch(`${url}/me`, { headers: { cookie: other } })).status, 200, 'the other login stays')

  t.equal((await post(`${url}/logout-everywhere`, {}, { cookie: other })).status, 204)
  t.equal(await there.closed, '3000 token_revoked')
  t.notMatch(output(), /eyJ/, 'no token is in the log')
})

t.test('cookie-login-and-plain-routes: a plain route takes the cookie only, and garbage in it is 401', async (t) => {
  const { url } = await startFile(t, 'recipes/cookie-login-and-plain-routes.js')
  const cookie = await cookieOf(url, 'ann')
  const token = cookie.split('=')[1] ?? ''
  const refused: Array<Record<string, string>> = [{}, { cookie: 'token=a.b.c' }, { cookie: 'token=' }, { authorization: `Bearer ${token}` }]
  for (const headers of refused) {
    t.equal((await fetch(`${url}/me`, { headers })).status, 401, JSON.stringify(headers))
  }
  t.equal(await refusalOf(url, { cookie: await cookieOf(url, 'eve') }), 'WS_AUTH_FORBIDDEN')
})

t.test('session-with-tickets: a ticket from the session opens a socket, and a logout ends both and the unused tickets', async (t) => {
  const { url, output } = await startFile(t, 'recipes/session-with-tickets.js')
  const ticketOf = async (cookie: string): Promise<string> => (await (await post(`${url}/ticket`, {}, { cookie })).json() as { ticket: string }).ticket
  t.equal((await post(`${url}/login`, { name: 'mallory' })).status, 401)
  t.equal((await post(`${url}/ticket`, {})).status, 401)
  t.equal(await refusalOf(url, { cookie: await cookieOf(url, 'ann') }), 'WS_AUTH_TOKEN_MISSING', 'the cookie alone opens nothing')

  const [cookie, other] = [await cookieOf(url, 'ann'), await cookieOf(url, 'ann')]
  const [here, there] = [await enter(url, {}, `?ticket=${await ticketOf(cookie)}`), await enter(url, {}, `?ticket=${await ticketOf(other)}`)]
  t.equal(here.greeting, 'hello ann')
  const unused = await ticketOf(cookie)
  t.equal((await post(`${url}/logout`, {}, { cookie })).status, 204)
  t.equal(await here.closed, '3000 token_revoked')
  t.equal((await post(`${url}/ticket`, {}, { cookie })).status, 401)
  t.equal(await refusalOf(url, {}, `?ticket=${unused}`), 'WS_AUTH_TOKEN_REVOKED')
  t.equal((await post(`${url}/ticket`, {}, { cookie: other })).status, 200, 'the other session stays')

  t.equal((await post(`${url}/logout`, {}, { cookie: other })).status, 204)
  t.equal(await there.closed, '3000 token_revoked')
  t.equal(await refusalOf(url, {}, `?ticket=${await ticketOf(await cookieOf(url, 'eve'))}`), 'WS_AUTH_FORBIDDEN')
  for (const secret of [cookie, other].map((each) => decodeURIComponent(each.split('=')[1] ?? '').split('.')[0] ?? '')) {
    t.notOk(output().includes(secret), 'no id of a session is in the log')
  }
})

t.test('tests-with-node-test: all of its tests pass', async (t) => {
  const { code, output } = await runNode(ROOT, '--test', 'example/recipes/tests-with-node-test.test.js')
  t.equal(code, 0, output)
  t.match(output, /pass 4$/m)
})

t.test('tests-of-a-client: all of its tests pass', async (t) => {
  const { code, output } = await runNode(ROOT, '--test', 'example/recipes/tests-of-a-client.test.js')
  t.equal(code, 0, output)
  t.match(output, /pass 4$/m)
})

t.test('tests-with-tap: all of its tests pass', async (t) => {
  const { code, output } = await runNode(ROOT, 'example/recipes/tests-with-tap.test.js')
  t.equal(code, 0, output)
  t.match(output, /^# \{ total: 4, pass: 4 \}$/m)
})

t.test('jwks-with-oidc-provider: an access token is accepted, an ID token is refused, and a logout at the provider closes the connection', async (t) => {
  const provider = await startProvider(t)
  const { url } = await startFile(t, 'recipes/jwks-with-oidc-provider.js', { ISSUER: provider.issuer, CLIENT_ID: CLIENT, JWKS_URI: provider.jwksUri })
  await provider.open([{ id: CLIENT, logoutUri: `${url}/backchannel-logout` }])
  const login = await provider.logIn('ann', CLIENT)
  const { greeting, closed } = await enter(url, { authorization: `Bearer ${login.accessToken}` })
  t.equal(greeting, 'hello ann')
  t.equal(await refusalOf(url, { authorization: `Bearer ${login.idToken}` }), 'WS_AUTH_TOKEN_INVALID')

  await login.logOut()
  t.same(provider.outcomes, ['success'])
  t.equal(await closed, '3000 token_revoked')
  t.equal(await refusalOf(url, { authorization: `Bearer ${login.accessToken}` }), 'WS_AUTH_TOKEN_REVOKED')
})

t.test('introspection-with-oidc-provider: an opaque token is accepted, and its connection is closed once the provider has revoked it', async (t) => {
  const provider = await startProvider(t)
  const { url } = await startFile(t, 'recipes/introspection-with-oidc-provider.js', {
    ISSUER: provider.issuer, CLIENT_ID: RESOURCE_SERVER.id, CLIENT_SECRET: RESOURCE_SERVER.secret, EVERY: '500'
  })
  await provider.open([{ id: CLIENT, logoutUri: `${url}/backchannel-logout` }])
  const [login, other] = [await provider.logIn('ann', CLIENT, 'opaque'), await provider.logIn('bea', CLIENT, 'opaque')]
  t.equal(login.accessToken.includes('.'), false, 'the token is no JWT')
  const { greeting, closed } = await enter(url, { authorization: `Bearer ${login.accessToken}` })
  t.equal(greeting, 'hello ann')
  const stays = await enter(url, { authorization: `Bearer ${other.accessToken}` })
  t.equal(await refusalOf(url, { authorization: 'Bearer made-up' }), 'WS_AUTH_TOKEN_INVALID')
  const early = await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 1500, 'open'))])
  t.equal(early, 'open', 'three rechecks keep it')

  await login.revoke()
  t.equal(await closed, '3000 token_revoked')
  t.equal(await refusalOf(url, { authorization: `Bearer ${login.accessToken}` }), 'WS_AUTH_TOKEN_INVALID')
  t.equal(await Promise.race([stays.closed, 'open']), 'open', 'the connection of another token stays')
})
