/*
 * The recipe for better-auth, installed and run as its first comment says.
 */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import t from 'tap'
import { WebSocket } from 'ws'
import { buildPackage, startFile } from '../helpers/example'

const run = promisify(execFile)

/** How long npm may take, in milliseconds: it installs from a registry. */
const TIMEOUT = 240_000

/** better-auth trusts the origin of its `baseURL`. */
const HEADERS = { 'content-type': 'application/json', origin: 'http://localhost:3000' }

t.before(async () => {
  await buildPackage()
  const { NODE_OPTIONS, ...env } = process.env
  await run('npm', ['ci', '--no-audit', '--no-fund', '--prefix', 'example/recipes/better-auth'], { env, timeout: TIMEOUT })
})

interface Login { cookie: string, get: (path: string) => Promise<string>, signOut: () => Promise<number> }

async function signUp (url: string, name: string): Promise<Login> {
  const body = JSON.stringify({ email: `${name}@chat.example`, password: 'a long password', name })
  const response = await fetch(`${url}/api/auth/sign-up/email`, { method: 'POST', headers: HEADERS, body })
  const cookie = response.headers.getSetCookie().map((line) => line.split(';')[0]).join('; ')
  return {
    cookie,
    get: async (path) => (await (await fetch(`${url}/api/auth${path}`, { headers: { cookie } })).json() as { token: string }).token,
    signOut: async () => (await fetch(`${url}/api/auth/sign-out`, { method: 'POST', headers: { ...HEADERS, cookie }, body: '{}' })).status
  }
}

/** What a client that offers a token is answered: the greeting, or the status of the refusal. */
async function open (url: string, path: string, token: string): Promise<{ answer: string | number | undefined, closed: Promise<string> }> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}${path}`, ['bearer', token])
  const closed = once(socket, 'close').then(([code, reason]) => `${code} ${String(reason)}`)
  const answer = await Promise.race([
    once(socket, 'message').then(([text]) => String(text)),
    once(socket, 'unexpected-response').then(([, response]) => response.statusCode as number)
  ])
  return { answer, closed }
}

t.test('better-auth: its JWT and its one-time token open a websocket, and a sign-out closes the websockets of the login', async (t) => {
  const { url, output } = await startFile(t, 'recipes/better-auth.js', { BASE_URL: HEADERS.origin })
  const [ann, bea] = [await signUp(url, 'ann'), await signUp(url, 'bea')]
  const token = await ann.get('/token')
  const chat = await open(url, '/chat', token)
  t.equal(chat.answer, 'hello ann')
  const ofBea = await open(url, '/chat', await bea.get('/token'))
  t.equal(ofBea.answer, 'hello bea')
  t.equal((await open(url, '/chat', `${token.slice(0, -8)}AAAAAAAA`)).answer, 401, 'a wrong signature')

  const single = await ann.get('/one-time-token/generate')
  t.equal((await open(url, '/chat', single)).answer, 401, 'a token of the other kind')
  const spent = await open(url, '/once', single)
  t.equal(spent.answer, 'hello ann')
  t.equal((await open(url, '/once', single)).answer, 401, 'a one-time token is good once')
  t.equal((await open(url, '/once', token)).answer, 401)

  t.equal(await ann.signOut(), 200)
  t.equal(await chat.closed, '3000 token_revoked')
  t.equal(await spent.closed, '3000 token_revoked')
  t.equal((await open(url, '/chat', token)).answer, 401)
  t.equal((await open(url, '/chat', await bea.get('/token'))).answer, 'hello bea', 'the other login stays')
  t.notMatch(output(), /eyJ/, 'no token is in the log')
})
