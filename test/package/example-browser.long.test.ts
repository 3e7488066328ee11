/*
 * The page of the example in a browser.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import type { Browser, Page } from 'playwright-core'
import { reasonToSkip, startBrowser } from '../helpers/browser'
import { buildExample, startExample } from '../helpers/example'
import type { RunningExample } from '../helpers/example'
import { PASSWORDS, SECRET, TIMEOUT } from '../helpers/example-chat'
import { newContext, openPage } from '../helpers/example-page'
import { reasonToSkip as reasonToSkipRedis, startRedis } from '../helpers/redis'

/** How long a connection outlives its token in the example, and how late it may be closed, in milliseconds. */
const GRACE = 2000
const SWEEP = 1000
/** The places of a token in a handshake. */
const WAYS = ['cookie', 'subprotocol', 'query', 'ticket']

t.before(buildExample)
t.jobs = 3

t.test('the chat works in a browser', { skip: reasonToSkip() }, async (t) => {
  const browser = await startBrowser(t)
  t.jobs = 4

  t.test('the page logs in with a first message, and counts down to the expiry', { buffered: true }, async (t) => {
    const { page, example } = await openLife(t, browser, 10)
    await page.click('#life-open')
    await hasState(page, 'open')
    const first = await secondsLeft(page)
    t.ok(first > 0 && first <= 10, `${first} seconds left`)
    await page.locator('#life-log', { hasText: 'received auth.ok until' }).waitFor()
    await page.locator('#connections .badge', { hasText: 'message' }).waitFor()
    while (await secondsLeft(page) >= first) await delay(100)

    // A token that lives longer moves the end, one that lives less is refused and moves nothing.
    await page.selectOption('#lifetime', '300')
    await page.click('#life-renew')
    await page.locator('#life-left', { hasText: '4:' }).waitFor()
    await page.selectOption('#lifetime', '10')
    await page.click('#life-renew')
    await page.locator('#life-log', { hasText: 'auth.error WS_AUTH_TOKEN_INVALID' }).waitFor()
    t.ok(await secondsLeft(page) > 200)
    await page.click('#life-close')
    await hasState(page, 'closed')
    t.equal(await page.locator('#life-left').textContent(), '–')
    await assertNoToken(t, example, '"event":"renewal_refused"')
  })

  t.test('an expired connection is closed, and the page does not open it again', { buffered: true }, async (t) => {
    const { page, example } = await openLife(t, browser, 10)
    await page.uncheck('#auto-renew')
    await page.click('#life-open')
    await hasState(page, 'open')
    await page.locator('#life-log', { hasText: 'received auth.renew' }).waitFor()
    await page.locator('#life-state', { hasText: '3000 token_expired' }).waitFor()
    t.match(await page.locator('#life-log').textContent(), /closed 3000 token_expired/)
    t.equal(await page.locator('#life-open').isDisabled(), false)
    t.equal(await page.locator('#status').getAttribute('data-state'), 'open', 'the room lives on')
    await assertNoToken(t, example, '"event":"expired"')
  })

  t.test('the page renews its connection when the server asks for it, and the connection lives past its first expiry', { buffered: true }, async (t) => {
    const { page, example } = await openLife(t, browser, 10)
    await page.click('#life-open')
    await hasState(page, 'open')
    const endsAt = Date.now() + await secondsLeft(page) * 1000 + GRACE + SWEEP
    await page.locator('#life-log li', { hasText: 'received auth.renew' }).waitFor()
    await page.locator('#life-log li', { hasText: 'received auth.ok' }).nth(1).waitFor()
    await delay(Math.max(endsAt - Date.now(), 0))
    await hasState(page, 'open')
    t.notMatch(await page.locator('#life-log').textContent(), /closed/)
    await assertNoToken(t, example, '"event":"renewed"')
  })

  t.test('the server closes a connection that sends no first message', { buffered: true }, async (t) => {
    const { page, example } = await openLife(t, browser, 10)
    await page.click('#life-silent')
    await page.locator('#life-state', { hasText: '3008 auth_timeout' }).waitFor()
    t.match(await page.locator('#life-log').textContent(), /closed 3008 auth_timeout/)
    await assertNoToken(t, example, '"code":"WS_AUTH_TIMEOUT"')
  })

  t.test('two tabs exchange messages, a reload stays logged in, and a log out applies to both', { buffered: true }, async (t) => {
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

  t.test('the page opens a connection by each place of a token, and shows the details that the server knows', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const page = await openPage(await newContext(t, browser), url)
    await enter(page, 'ann')
    for (const way of WAYS) {
      const card = page.locator(`[data-way=${way}]`)
      await hasWay(page, way)
      // It comes with a message of its own.
      await card.locator('[data-field=source]', { hasText: way }).waitFor()
      t.equal(await card.locator('[data-field=source]').textContent(), way)
      t.equal(await card.locator('[data-field=user]').textContent(), 'ann (member)')
      t.equal(await card.locator('[data-field=protocol]').textContent(), 'ws-auth')
      t.match(await card.locator('[data-field=id]').textContent(), /^[\w-]{8}$/)
    }
    await page.locator('#connections li').nth(4).waitFor()
    t.equal(await page.locator('#connections li').count(), 5)
  })

  t.test('the page shows the status and the close code of each refusal', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const page = await openPage(await newContext(t, browser), url)
    await enter(page, 'ann')
    await page.click('#try-all')
    const expected = {
      missing: ['401 WS_AUTH_TOKEN_MISSING', '3000 token_missing'],
      garbage: ['401 WS_AUTH_TOKEN_INVALID', '3000 token_invalid'],
      expired: ['401 WS_AUTH_TOKEN_EXPIRED', '3000 token_expired'],
      forbidden: ['403 WS_AUTH_FORBIDDEN', '3003 forbidden'],
      ambiguous: ['400 WS_AUTH_TOKEN_AMBIGUOUS', '3000 token_ambiguous'],
      spent: ['401 WS_AUTH_TICKET_INVALID', '3000 ticket_invalid']
    }
    for (const [name, codes] of Object.entries(expected)) {
      const badges = page.locator(`[data-refusal=${name}] .result .badge`)
      await badges.nth(1).waitFor()
      t.same(await badges.allTextContents(), codes)
    }
    t.equal(await page.locator('#status').getAttribute('data-state'), 'open', 'the room has not noticed')
  })

  t.test('an admin can enter the room of the admins, and a member cannot', { buffered: true }, async (t) => {
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

  t.test('a page of another origin cannot use the cookie, though it is of the same site', { buffered: true }, async (t) => {
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
    await logged(example, '"code":"WS_AUTH_ORIGIN_FORBIDDEN"')
    t.notMatch(example.output(), /eyJ/, 'no token is in the log')
  })

  t.test('one connection too many closes the oldest, which the page opens again only by hand', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const page = await openPage(await newContext(t, browser), url)
    await enter(page, 'ann')
    await page.locator('[data-way=ticket] .badge[data-state=open]').waitFor()
    await page.click('#one-more')
    await page.locator('#status[data-state=refused]').waitFor()
    await page.locator('#lost', { hasText: '3003 connection_replaced' }).waitFor()
    await page.click('#take-back')
    await isOnline(page)
    t.equal(await page.locator('#lost').isVisible(), false)
    await page.locator('[data-way=cookie] .badge', { hasText: '3003 connection_replaced' }).waitFor()
    await page.locator('#connections li').nth(119).waitFor()
    t.equal(await page.locator('#connections li').count(), 120)
  })

  t.test('a page shows that the server has stopped', { buffered: true }, async (t) => {
    const example = await startExample(t)
    const page = await openPage(await newContext(t, browser), example.url)
    await enter(page, 'ann')
    for (const way of ['query', 'ticket']) await hasWay(page, way)
    t.equal(await example.stop(), 0)
    await page.locator('#status[data-state=waiting]').waitFor()
    await page.locator('#lost', { hasText: '1001 shutdown' }).waitFor()
    t.equal(await page.locator('#take-back').isVisible(), false)
    await page.locator('[data-way=query] .badge', { hasText: '1001 shutdown' }).waitFor()
  })

  t.test('an admin sees the decisions and counts of the server, and a member does not', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const bea = await openPage(await newContext(t, browser), url)
    const ann = await openPage(await newContext(t, browser), url)
    await enter(bea, 'bea')
    await bea.locator('#stats .badge', { hasText: 'accepted' }).waitFor()
    t.notMatch(await bea.locator('#stats').innerText(), /object/, 'the page shows counts alone')
    await enter(ann, 'ann')
    await ann.click('[data-refusal=garbage] button')
    await bea.locator('#events li', { hasText: 'refused WS_AUTH_TOKEN_INVALID /members by subprotocol' }).waitFor()
    await bea.locator('#stats .badge', { hasText: 'refused WS_AUTH_TOKEN_INVALID 1' }).waitFor()
    await ann.click('[data-way=query] [data-do=renew]')
    await bea.locator('#events li', { hasText: 'renewed /members by query as ann' }).waitFor()
    await bea.locator('#stats .badge', { hasText: 'renewed 1' }).waitFor()
    t.equal(await ann.locator('#events li, #stats li').count(), 0)
  })

  t.test('a log out everywhere in one browser logs out the other, and a new login works at once', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const one = await openPage(await newContext(t, browser), url)
    const two = await openPage(await newContext(t, browser), url)
    const bea = await openPage(await newContext(t, browser), url)
    for (const page of [one, two]) {
      await enter(page, 'ann')
      for (const way of WAYS) await hasWay(page, way)
    }
    await enter(bea, 'bea')
    await one.click('#logout-everywhere')
    await one.locator('#notice', { hasText: /^Logged out everywhere: 10 connections were closed, on 1 instance\.$/ }).waitFor()
    await one.locator('#login').waitFor()
    t.equal(await one.locator('#login-error').textContent(), '', 'whoever has asked for it is told nothing bad')
    await two.locator('#login-error', { hasText: 'You have been logged out (3000 token_revoked). Please log in again.' }).waitFor()
    await two.reload()
    await two.locator('#login').waitFor()
    await enter(one, 'ann')
    await one.locator('[data-way=ticket] .badge[data-state=open]').waitFor()
    t.equal(await bea.locator('#status').getAttribute('data-state'), 'open')
  })

  t.test('an admin disconnects one connection of another browser, and its user can open it again', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const ann = await openPage(await newContext(t, browser), url)
    const bea = await openPage(await newContext(t, browser), url)
    await enter(bea, 'bea')
    await enter(ann, 'ann')
    await ann.locator('[data-way=ticket] .badge[data-state=open]').waitFor()
    t.equal(await ann.locator('#disconnect').isVisible(), false)
    t.equal(await ann.locator('#connections button').count(), 0, 'a member disconnects nobody')

    const rows = bea.locator('#connections .connection', { hasText: 'ann' })
    await rows.filter({ hasText: 'ticket' }).locator('button').press('Enter')
    await ann.locator('[data-way=ticket] .badge', { hasText: '3003 disconnected' }).waitFor()
    t.equal(await ann.locator('#status').getAttribute('data-state'), 'open', 'the others stay')
    await bea.locator('#disconnect-result', { hasText: /^Disconnected 1: \S+ closed 1$/ }).waitFor()
    await bea.locator('#disconnect-result:focus').waitFor()

    const cookies = rows.filter({ hasText: 'cookie' })
    for (let left = await cookies.count(); left > 0; left--) {
      await cookies.first().locator('button').click()
      await cookies.nth(left - 1).waitFor({ state: 'detached' })
    }
    await ann.locator('#lost', { hasText: '3003 disconnected' }).waitFor()
    await ann.click('#take-back')
    await isOnline(ann)
  })

  t.test('a disconnect by id and a log out everywhere at one instance reach the browser at the other', { buffered: true, skip: reasonToSkipRedis() }, async (t) => {
    const redis = await startRedis(t)
    const { urls: [here = '', there = ''] } = await startExample(t, { isTwofold: true, env: { REDIS_URL: redis.path } })
    const one = await openPage(await newContext(t, browser), here)
    const two = await openPage(await newContext(t, browser), there)
    const bea = await openPage(await newContext(t, browser), there)
    await enter(one, 'ann')
    await enter(two, 'ann')
    await enter(bea, 'bea')
    for (const page of [one, two]) {
      for (const way of WAYS) await hasWay(page, way)
    }
    t.match(await bea.locator('#connections-scope').textContent(), `At ${new URL(there).host}; another instance has its own.`)

    const row = one.locator('#connections .connection', { hasText: 'ticket' })
    const id = await row.locator('.mono').textContent() ?? ''
    t.equal(await bea.locator(`[data-id="${id}"]`).count(), 0, 'the list is that of the instance that was asked')
    await bea.fill('#disconnect-id', id)
    await bea.click('#disconnect button')
    await one.locator('[data-way=ticket] .badge', { hasText: '3003 disconnected' }).waitFor()
    await bea.locator('#disconnect-result', { hasText: /^Disconnected 1: \S+ closed 0, \S+ closed 1$/ }).waitFor()

    await two.click('#logout-everywhere')
    await two.locator('#notice', { hasText: /^Logged out everywhere: 9 connections were closed, on 2 instances\.$/ }).waitFor()
    await one.locator('#login-error', { hasText: '(3000 token_revoked)' }).waitFor()
    await one.reload()
    await one.locator('#login').waitFor()
    await enter(one, 'ann')
    t.equal(await bea.locator('#status').getAttribute('data-state'), 'open')
  })

  t.test('the page is not wider than a screen of 360 pixels', { buffered: true }, async (t) => {
    const example = await startExample(t)
    const context = await newContext(t, browser, { viewport: { width: 360, height: 740 } })
    const page = await openPage(context, example.url)
    const isTooWide = (): Promise<boolean> => page.locator('html').evaluate((root) => root.scrollWidth > root.clientWidth)
    t.equal(await isTooWide(), false)
    await enter(page, 'bea')
    await say(page, 'w'.repeat(200))
    await page.click('#try-all')
    await page.locator('[data-refusal=spent] .result .badge').nth(1).waitFor()
    await page.click('#life-open')
    await hasState(page, 'open')
    await page.locator('#connections li').first().waitFor()
    await page.locator('#events li').first().waitFor()
    await page.locator('#connections button').last().click()
    await page.locator('#disconnect-result', { hasText: 'Disconnected 1' }).waitFor()
    t.equal(await isTooWide(), false)
    await example.stop()
    await page.locator('#lost').waitFor()
    t.equal(await isTooWide(), false)
  })

  // One after the other, and after all others: they stop a server, and start another on the port that it had.
  t.test('a page reconnects by itself after a restart of the server', async (t) => {
    const env = { JWT_SECRET: SECRET }
    const first = await startExample(t, { env })
    const page = await openPage(await newContext(t, browser), first.url)
    await enter(page, 'ann')
    await first.stop()
    await page.locator('#status[data-state=waiting]').waitFor()
    await startExample(t, { port: first.port, env })
    await isOnline(page)
    await page.locator('[data-way=ticket] .badge[data-state=open]').waitFor()
    await say(page, 'back again')
    const message = page.locator('#messages .text', { hasText: 'back again' })
    await message.waitFor()
    t.equal(await message.textContent(), 'back again')
  })

  t.test('the page asks for a login after a restart with another secret', async (t) => {
    const first = await startExample(t)
    const page = await openPage(await newContext(t, browser), first.url)
    await enter(page, 'ann')
    await first.stop()
    await startExample(t, { port: first.port })
    await page.locator('#login').waitFor()
    t.match(await page.locator('#login-error').textContent(), /^You have been logged out(?: \((?:3000|1006) token_invalid\))?\. Please log in again\.$/)
    await enter(page, 'ann')
  })
})

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

/** The page of ann on a server of her own that logs everything, with tokens of so many seconds. */
async function openLife (t: Test, browser: Browser, lifetime: number): Promise<{ page: Page, example: RunningExample }> {
  const example = await startExample(t, { env: { LOG_LEVEL: 'info' } })
  const page = await openPage(await newContext(t, browser), example.url)
  await enter(page, 'ann')
  await page.selectOption('#lifetime', String(lifetime))
  return { page, example }
}

/** What a process prints comes through a pipe, in its own time. */
async function logged (example: RunningExample, text: string): Promise<void> {
  const deadline = Date.now() + TIMEOUT
  while (!example.output().includes(text)) {
    if (Date.now() > deadline) throw new Error(`not in the log: ${text}`)
    await delay(50)
  }
}

/** @param text what is logged last */
async function assertNoToken (t: Test, example: RunningExample, text: string): Promise<void> {
  await logged(example, text)
  t.notMatch(example.output(), /eyJ/, 'no token is in the log')
}

async function hasState (page: Page, state: string): Promise<void> {
  await page.locator(`#life-state[data-state=${state}]`).waitFor()
}

/** Waits until the connection of one place of the token is open. */
async function hasWay (page: Page, way: string): Promise<void> {
  await page.locator(`[data-way=${way}] .badge[data-state=open]`).waitFor()
}

async function secondsLeft (page: Page): Promise<number> {
  const [minutes, seconds] = (await page.locator('#life-left').textContent() ?? '').split(':')
  return Number(minutes) * 60 + parseInt(seconds ?? '')
}

/** An empty page on another port. */
async function startPage (t: { teardown (end: () => unknown): void }): Promise<string> {
  const server = createServer((_request, response) => { response.setHeader('content-type', 'text/html').end('<title>evil</title>') })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
