/*
 * The example, as somebody who has just cloned the repository tries it: on the terminal, over HTTP, and in a browser.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { WebSocket } from 'ws'
import { reasonToSkip, startBrowser } from './helpers/browser'
import { buildExample, runExample, startExample } from './helpers/example'

const SECRET = 'a secret of the tests, and long enough'
const PASSWORDS = { ann: 'tea-for-two', bea: 'keys-to-all' }

interface Profile { user: { name: string, roles: string[] }, token: string }

function post (url: string, body: string): Promise<Response> {
  return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
}

function logIn (url: string, name: string, password: string): Promise<Response> {
  return post(`${url}/login`, JSON.stringify({ name, password }))
}

async function cookieOf (url: string, name: keyof typeof PASSWORDS): Promise<string> {
  const response = await logIn(url, name, PASSWORDS[name])
  return response.headers.getSetCookie()[0]?.split(';')[0] ?? ''
}

async function messageOf (response: Response): Promise<string> {
  return (await response.json() as { message: string }).message
}

function connect (url: string, cookie: string): WebSocket {
  return new WebSocket(`${url.replace('http', 'ws')}/members`, { headers: { cookie } })
}

t.before(buildExample)

t.test('on the terminal', async (t) => {
  t.test('--demo shows each way in and each refusal, and exits with 0', async (t) => {
    const { code, stdout, stderr } = await runExample('--demo')
    t.equal(code, 0)
    t.equal(stderr, '')
    t.match(stdout, /^listening on http:\/\/127\.0\.0\.1:\d+$/m)
    for (const source of ['cookie', 'subprotocol', 'query']) t.match(stdout, new RegExp(`^ {2}${source} +open +/members as ann`, 'm'))
    t.match(stdout, /bea +hears +ann: Good morning!/)
    t.match(stdout, /401 WS_AUTH_TOKEN_MISSING +3000 token_missing/)
    t.match(stdout, /401 WS_AUTH_TOKEN_INVALID +3000 token_invalid/)
    t.match(stdout, /401 WS_AUTH_TOKEN_EXPIRED +3000 token_expired/)
    t.match(stdout, /400 WS_AUTH_TOKEN_AMBIGUOUS +3000 token_ambiguous/)
    t.match(stdout, /403 WS_AUTH_FORBIDDEN +3003 forbidden/)
    t.match(stdout, /403 WS_AUTH_ORIGIN_FORBIDDEN +3003 origin_forbidden/)
    t.match(stdout, /ann +closed +3000 logged_out/)
    t.notOk(stdout.includes('\u001B'), 'no colours where nobody sees them')
  })

  t.test('a port that is taken is named, with what to do', async (t) => {
    const { port } = await startExample(t)
    const { code, stderr } = await runExample('--port', String(port))
    t.equal(code, 1)
    t.equal(stderr, `port ${port} is taken: choose another, or any that is free with  npm start -- --port 0\n`)
  })

  t.test('an unknown option and a port that is none are said in one line', async (t) => {
    const unknown = await runExample('--prot', '1')
    t.equal(unknown.code, 1)
    t.match(unknown.stderr, /^Unknown option '--prot'.*\n$/)
    const wrong = await runExample('--port', 'many')
    t.equal(wrong.code, 1)
    t.match(wrong.stderr, /^the port must be a number from 0 to 65535, not many\n$/)
  })

  t.test('ends with 0 when it is told to, with connections open', async (t) => {
    const example = await startExample(t)
    const socket = connect(example.url, await cookieOf(example.url, 'ann'))
    await once(socket, 'message')
    const [code] = await Promise.all([example.stop(), once(socket, 'close')])
    t.equal(code, 0)
  })
})

t.test('over HTTP', async (t) => {
  const { url } = await startExample(t)

  t.test('a login sets a cookie that no script can read, and answers with a token', async (t) => {
    const response = await logIn(url, 'ann', PASSWORDS.ann)
    t.equal(response.status, 200)
    t.match(response.headers.getSetCookie(), [/^chat_token=[^;]+; Max-Age=28800; Path=\/; HttpOnly; SameSite=Strict$/])
    const { user, token } = await response.json() as Profile
    t.same(user, { name: 'ann', roles: ['member'] })
    t.match(token, /^[\w-]+\.[\w-]+\.[\w-]+$/)
  })

  t.test('behind HTTPS the cookie is Secure and has the prefix __Host-', async (t) => {
    const { url } = await startExample(t, { env: { HTTPS: '1' } })
    const response = await logIn(url, 'ann', PASSWORDS.ann)
    t.match(response.headers.getSetCookie(), [/^__Host-chat_token=[^;]+; Max-Age=28800; Path=\/; HttpOnly; Secure; SameSite=Strict$/])
    t.equal((await fetch(`${url}/me`, { headers: { cookie: await cookieOf(url, 'ann') } })).status, 200)
  })

  t.test('a wrong password and an unknown name get the same plain answer', async (t) => {
    for (const name of ['ann', 'nobody', '__proto__']) {
      const response = await logIn(url, name, 'guess')
      t.equal(response.status, 401)
      t.equal(await messageOf(response), 'Wrong name or password')
      t.same(response.headers.getSetCookie(), [])
    }
  })

  t.test('bad JSON, and JSON that is no login, are 400', async (t) => {
    for (const body of ['{"name":', '[]', '{}', '{"name":"ann"}', '{"name":"ann","password":""}', JSON.stringify({ name: 'ann', password: 'x'.repeat(129) })]) {
      t.equal((await post(`${url}/login`, body)).status, 400, body)
    }
  })

  t.test('the 21st login in a minute is 429', async (t) => {
    const { url } = await startExample(t)
    for (let i = 0; i < 20; i++) t.equal((await logIn(url, 'ann', 'guess')).status, 401)
    const response = await logIn(url, 'ann', PASSWORDS.ann)
    t.equal(response.status, 429)
    t.equal(await messageOf(response), 'Too many attempts: wait a minute')
  })

  t.test('nothing is told to whoever is not logged in, or has any other cookie', async (t) => {
    for (const path of ['/me', '/connections', '/expired-token']) {
      for (const cookie of ['', 'chat_token=garbage', 'chat_token=a.b.c', 'chat_token=']) {
        const response = await fetch(url + path, { headers: { cookie } })
        t.equal(response.status, 401, `${path} with ${cookie}`)
        t.equal(await messageOf(response), 'Please log in')
      }
    }
  })

  t.test('a token for a handshake is not good for getting the next one', async (t) => {
    const { token } = await (await logIn(url, 'ann', PASSWORDS.ann)).json() as Profile
    t.equal((await fetch(`${url}/me`, { headers: { authorization: `Bearer ${token}` } })).status, 401)
    t.equal((await fetch(`${url}/me`, { headers: { cookie: `chat_token=${token}` } })).status, 401)
  })

  t.test('a member sees their own connections, an admin all of them', async (t) => {
    const { url } = await startExample(t)
    const cookies = { ann: await cookieOf(url, 'ann'), bea: await cookieOf(url, 'bea') }
    const sockets = [connect(url, cookies.ann), connect(url, cookies.bea)]
    await Promise.all(sockets.map((socket) => once(socket, 'message')))
    const namesFor = async (cookie: string): Promise<string[]> => {
      const connections = await (await fetch(`${url}/connections`, { headers: { cookie } })).json() as Array<{ name: string }>
      return connections.map(({ name }) => name).sort()
    }
    t.same(await namesFor(cookies.ann), ['ann'])
    t.same(await namesFor(cookies.bea), ['ann', 'bea'])
    for (const socket of sockets) socket.terminate()
  })

  t.test('a log out takes the cookie back and closes what that login has opened, and no other', async (t) => {
    const here = await cookieOf(url, 'ann')
    const elsewhere = connect(url, await cookieOf(url, 'ann'))
    const socket = connect(url, here)
    await Promise.all([once(socket, 'message'), once(elsewhere, 'message')])
    const closed = once(socket, 'close')
    const response = await fetch(`${url}/logout`, { method: 'POST', headers: { cookie: here } })
    t.equal(response.status, 204)
    t.match(response.headers.getSetCookie(), [/^chat_token=; .*Expires=Thu, 01 Jan 1970/])
    const [code, reason] = await closed
    t.equal(`${code} ${reason}`, '3000 logged_out')
    t.equal(elsewhere.readyState, WebSocket.OPEN)
    elsewhere.terminate()
  })

  t.test('a restart keeps the logins where the secret is the same, and only there', async (t) => {
    const first = await startExample(t, { env: { JWT_SECRET: SECRET } })
    const cookie = await cookieOf(first.url, 'ann')
    await first.stop()
    const second = await startExample(t, { env: { JWT_SECRET: SECRET } })
    t.equal((await fetch(`${second.url}/me`, { headers: { cookie } })).status, 200)
    const third = await startExample(t)
    t.match(third.output(), /JWT_SECRET is not set/)
    t.equal((await fetch(`${third.url}/me`, { headers: { cookie } })).status, 401)
  })

  t.test('the page allows its own script and style by their hashes, and nothing else', async (t) => {
    const response = await fetch(url)
    const page = await response.text()
    const policy = response.headers.get('content-security-policy') ?? ''
    const hashOf = (tag: string): string => {
      const text = new RegExp(`<${tag}[^>]*>([^]*?)</${tag}>`).exec(page)?.[1] ?? ''
      return `'sha256-${createHash('sha256').update(text).digest('base64')}'`
    }
    t.match(policy, "default-src 'none'")
    t.ok(policy.includes(`script-src ${hashOf('script')}`))
    t.ok(policy.includes(`style-src ${hashOf('style')}`))
    t.notMatch(policy, /unsafe|\*/)
    t.equal(response.headers.get('x-content-type-options'), 'nosniff')
    t.equal(response.headers.get('x-frame-options'), 'DENY')
    t.notMatch(page, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|https?:\/\/(?!www\.w3\.org)/)
  })
})

t.test('over a WebSocket', async (t) => {
  const { url } = await startExample(t)

  t.test('a frame that is none of ours is answered with an error, and the connection stays', async (t) => {
    const socket = connect(url, await cookieOf(url, 'ann'))
    const types: string[] = []
    socket.on('message', (data) => types.push((JSON.parse(String(data)) as { type: string }).type))
    await once(socket, 'message')
    const frames = ['{', 'null', '[]', '{"type":"say"}', '{"type":"say","text":7}', '{"type":"say","text":"  "}', JSON.stringify({ type: 'say', text: 'x'.repeat(501) })]
    for (const frame of frames) socket.send(frame)
    socket.send(Buffer.from('{"type":"say","text":"binary"}'))
    socket.send('{"type":"say","text":"fine"}')
    while (!types.includes('said')) await once(socket, 'message')
    t.same(types.filter((type) => type === 'error').length, frames.length + 1)
    socket.terminate()
  })

  t.test('the eleventh frame in five seconds closes with 1008 too_many_messages', async (t) => {
    const socket = connect(url, await cookieOf(url, 'bea'))
    await once(socket, 'message')
    for (let i = 0; i < 11; i++) socket.send('{"type":"say","text":"again"}')
    const [code, reason] = await once(socket, 'close')
    t.equal(`${code} ${reason}`, '1008 too_many_messages')
  })
})

t.test('in a browser', { skip: reasonToSkip() }, async (t) => {
  const browser = await startBrowser(t)

  t.test('two tabs talk, a reload stays logged in, and a log out is for both', async (t) => {
    const { url } = await startExample(t)
    const context = await newContext(t, browser)
    const one = await openPage(context, url)
    await fillIn(one, 'ann', 'guess')
    await one.getByText('Wrong name or password').waitFor()
    await enter(one, 'ann')

    const two = await context.newPage()
    await two.goto(url)
    await isOnline(two)
    await say(one, '<b>hello</b> from the first tab')
    await two.locator('#messages .text', { hasText: '<b>hello</b> from the first tab' }).waitFor()
    t.equal(await two.locator('#messages b').count(), 0, 'what users write stays text')

    await two.reload()
    await isOnline(two)
    await two.locator('#messages .text', { hasText: 'from the first tab' }).waitFor()
    t.equal(await two.locator('#who').textContent(), 'ann')

    await one.click('#logout')
    await one.locator('#login').waitFor()
    await two.locator('#login').waitFor()
    await one.reload()
    await one.locator('#login').waitFor()
  })

  t.test('each way in is open, and shows what the server knows of it', async (t) => {
    const { url } = await startExample(t)
    const page = await openPage(await newContext(t, browser), url)
    await enter(page, 'ann')
    for (const [way, protocol] of [['cookie', 'none'], ['subprotocol', 'bearer'], ['query', 'none']]) {
      const card = page.locator(`[data-way=${way}]`)
      await card.locator('.badge[data-state=open]').waitFor()
      t.equal(await card.locator('[data-field=source]').textContent(), way)
      t.equal(await card.locator('[data-field=user]').textContent(), 'ann (member)')
      t.equal(await card.locator('[data-field=protocol]').textContent(), protocol)
      t.match(await card.locator('[data-field=id]').textContent(), /^[\w-]{8}$/)
    }
    await page.locator('#connections li').nth(3).waitFor()
    t.equal(await page.locator('#connections li').count(), 4)
  })

  t.test('each refusal shows its status and its close code', async (t) => {
    const { url } = await startExample(t)
    const page = await openPage(await newContext(t, browser), url)
    await enter(page, 'ann')
    await page.click('#try-all')
    const expected = {
      missing: ['401 WS_AUTH_TOKEN_MISSING', '3000 token_missing'],
      garbage: ['401 WS_AUTH_TOKEN_INVALID', '3000 token_invalid'],
      expired: ['401 WS_AUTH_TOKEN_EXPIRED', '3000 token_expired'],
      forbidden: ['403 WS_AUTH_FORBIDDEN', '3003 forbidden'],
      ambiguous: ['400 WS_AUTH_TOKEN_AMBIGUOUS', '3000 token_ambiguous']
    }
    for (const [name, codes] of Object.entries(expected)) {
      const badges = page.locator(`[data-refusal=${name}] .result .badge`)
      await badges.nth(1).waitFor()
      t.same(await badges.allTextContents(), codes)
    }
    t.equal(await page.locator('#status').getAttribute('data-state'), 'open', 'the room has not noticed')
  })

  t.test('the room of the admins is open to an admin and closed to a member', async (t) => {
    const { url } = await startExample(t)
    const ann = await openPage(await newContext(t, browser), url)
    const bea = await openPage(await newContext(t, browser), url)
    await enter(ann, 'ann')
    await enter(bea, 'bea')
    await ann.click('[data-room=admins]')
    await ann.locator('#messages', { hasText: '3003 forbidden' }).waitFor()
    await bea.click('[data-room=admins]')
    await isOnline(bea)
    await say(bea, 'for admins only')
    await bea.locator('#messages .text', { hasText: 'for admins only' }).waitFor()
    await bea.click('[data-room=members]')
    await say(bea, 'for members')
    await ann.click('[data-room=members]')
    await ann.locator('#messages .text', { hasText: 'for members' }).waitFor()
    t.equal(await ann.getByText('for admins only').count(), 0)
  })

  t.test('a page comes back by itself after a restart of the server', async (t) => {
    const env = { JWT_SECRET: SECRET }
    const first = await startExample(t, { env })
    const page = await openPage(await newContext(t, browser), first.url)
    await enter(page, 'ann')
    await first.stop()
    await page.locator('#status[data-state=waiting]').waitFor()
    await startExample(t, { port: first.port, env })
    await isOnline(page)
    await page.locator('[data-way=query] .badge[data-state=open]').waitFor()
    await say(page, 'back again')
    await page.locator('#messages .text', { hasText: 'back again' }).waitFor()
    t.pass()
  })

  t.test('after a restart with another secret the page asks for a login', async (t) => {
    const first = await startExample(t)
    const page = await openPage(await newContext(t, browser), first.url)
    await enter(page, 'ann')
    await first.stop()
    await startExample(t, { port: first.port })
    await page.locator('#login').waitFor()
    t.equal(await page.locator('#login-error').textContent(), 'You have been logged out. Please log in again.')
    await enter(page, 'ann')
  })

  t.test('a page of another origin cannot use the cookie, though it is of the same site', async (t) => {
    const example = await startExample(t, { env: { LOG_LEVEL: 'info' } })
    const context = await newContext(t, browser)
    await enter(await openPage(context, example.url), 'ann')
    // SameSite does not look at the port: the browser sends the cookie along.
    const evil = await startPage(t)
    const page = await context.newPage()
    await page.goto(evil)
    const closed = await page.evaluate((url) => new Promise<{ code: number, reason: string, frames: number }>((resolve) => {
      let frames = 0
      const socket = new globalThis.WebSocket(url)
      socket.onmessage = () => { frames++ }
      socket.onclose = ({ code, reason }) => resolve({ code, reason, frames })
    }), `${example.url.replace('http', 'ws')}/members`)
    t.same(closed, { code: 3003, reason: 'origin_forbidden', frames: 0 })
    t.match(example.output(), /"code":"WS_AUTH_ORIGIN_FORBIDDEN"/)
    t.notMatch(example.output(), /eyJ/, 'no token is in the log')
  })

  t.test('nothing is wider than a screen of 360 pixels', async (t) => {
    const { url } = await startExample(t)
    const context = await newContext(t, browser, { width: 360, height: 740 })
    const page = await openPage(context, url)
    const isTooWide = (): Promise<boolean> => page.locator('html').evaluate((root) => root.scrollWidth > root.clientWidth)
    t.equal(await isTooWide(), false)
    await enter(page, 'bea')
    await say(page, 'w'.repeat(200))
    await page.click('#try-all')
    await page.locator('[data-refusal=ambiguous] .result .badge').nth(1).waitFor()
    await page.locator('#connections li').first().waitFor()
    t.equal(await isTooWide(), false)
  })
})

/** A context is a browser of its own: no cookie is shared. A page that throws, or breaks its policy, fails the test. */
async function newContext (t: Test, browser: Browser, viewport = { width: 1280, height: 800 }): Promise<BrowserContext> {
  const context = await browser.newContext({ viewport })
  context.setDefaultTimeout(20_000)
  context.on('weberror', (error) => t.fail(`the page threw ${error.error()}`))
  context.on('console', (message) => { if (/Content Security Policy/.test(message.text())) t.fail(message.text()) })
  t.teardown(() => context.close())
  return context
}

async function openPage (context: BrowserContext, url: string): Promise<Page> {
  const page = await context.newPage()
  await page.goto(url)
  return page
}

async function fillIn (page: Page, name: string, password: string): Promise<void> {
  await page.getByLabel('Name').fill(name)
  await page.getByLabel('Password').fill(password)
  await page.click('#login-form button')
}

async function enter (page: Page, name: keyof typeof PASSWORDS): Promise<void> {
  await fillIn(page, name, PASSWORDS[name])
  await isOnline(page)
}

async function isOnline (page: Page): Promise<void> {
  await page.locator('#status[data-state=open]').waitFor()
}

async function say (page: Page, text: string): Promise<void> {
  await page.getByLabel('Message', { exact: true }).fill(text)
  await page.click('#composer button')
}

/** An empty page on another port. */
async function startPage (t: { teardown (end: () => unknown): void }): Promise<string> {
  const server = createServer((_request, response) => { response.setHeader('content-type', 'text/html').end('<title>evil</title>') })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
