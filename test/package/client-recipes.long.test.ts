/*
 * The recipes of the client: pages in Chromium, each against its own server, and a script of Node.js.
 */
import { once } from 'node:events'
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import type { Page } from 'playwright-core'
import { eventually, openPage, reasonToSkip, startBrowser } from '../helpers/browser'
import { blocksOf, readDocument } from '../helpers/documents'
import { buildPackage, startFile } from '../helpers/example'

t.before(buildPackage)

const SERVER = 'client/server.js'
const SECRET = 'a secret of the tests, and long enough'
/** How late a renewal may be, in milliseconds: tokens that live for seconds are renewed shortly before their end, and a busy machine is late. */
const GRACE = '20000'

/** Waits until a page shows a state. */
async function shows (page: Page, state: string | RegExp): Promise<void> {
  await page.locator('#state', { hasText: state }).waitFor()
}

async function hears (page: Page, text: string): Promise<void> {
  await page.locator('li', { hasText: text }).first().waitFor()
}

async function say (page: Page, text: string): Promise<void> {
  await page.getByLabel('Message').fill(text)
  await page.keyboard.press('Enter')
}

async function logIn (page: Page, name: string): Promise<void> {
  await page.evaluate((name) => fetch('/login', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ name }) }), name)
}

function count (output: string, text: string): number {
  return output.split(text).length - 1
}

t.test('the recipes for pages work in a browser', { skip: reasonToSkip() }, async (t) => {
  const browser = await startBrowser(t)
  t.jobs = 3

  t.test('plain page: it renews, changes the user, and a logout in one browser ends it there alone', { buffered: true }, async (t) => {
    const { url, output } = await startFile(t, SERVER, { TOKEN_SECONDS: '10', EXPIRY_GRACE: GRACE })
    const ann = await openPage(t, browser, `${url}/plain.html`)
    const other = await openPage(t, browser, `${url}/plain.html`)
    for (const page of [ann, other]) {
      await shows(page, 'refused, token_missing')
      await page.getByRole('button', { name: 'ann' }).click()
      await shows(page, /^open$/)
      await hears(page, 'server: hello ann')
    }
    await say(ann, '<b>good</b> morning')
    await hears(other, 'ann: <b>good</b> morning')
    await eventually(() => count(output(), '"event":"renewed"') >= 2, 'a renewal of each')
    t.equal(count(output(), '"event":"accepted"'), 2, 'on the first connections')
    t.equal(await ann.locator('li', { hasText: 'auth' }).count(), 0, 'no frame of the plugin reaches the page')

    await ann.getByRole('button', { name: 'log out' }).click()
    await shows(ann, /^refused/)
    await shows(other, /^open$/)
    await say(other, 'still here')
    await hears(other, 'ann: still here')
    await other.getByRole('button', { name: 'bea' }).click()
    await hears(other, 'server: hello bea')
    t.notMatch(output(), /eyJ/, 'no token is in the log')
  })

  t.test('plain page: it waits while the server is gone, and comes back with its token', { buffered: true }, async (t) => {
    const first = await startFile(t, SERVER, { JWT_SECRET: SECRET })
    const page = await openPage(t, browser, `${first.url}/plain.html`)
    await page.getByRole('button', { name: 'ann' }).click()
    await hears(page, 'server: hello ann')
    await first.stop()
    await shows(page, /^waiting.* back in \d+ s$/)
    const second = await startFile(t, SERVER, { JWT_SECRET: SECRET, PORT: new URL(first.url).port })
    await shows(page, /^open$/)
    const greetings = page.locator('li', { hasText: 'server: hello ann' })
    await greetings.nth(1).waitFor()
    t.equal(await greetings.count(), 2)
    t.equal(count(second.output(), '"url":"/token"'), 0, 'the token was kept')
  })

  t.test('React: StrictMode runs each effect twice, and there is one call for a token and one connection', { buffered: true }, async (t) => {
    const { url, output } = await startFile(t, SERVER)
    const page = await openPage(t, browser, `${url}/plain.html`)
    await logIn(page, 'ann')
    const before = count(output(), '"url":"/token"')
    await page.goto(`${url}/react.html`)
    await shows(page, /^open/)
    await hears(page, 'server: hello ann')
    await say(page, 'hello')
    await hears(page, 'ann: hello')
    await page.evaluate(() => fetch('/logout', { method: 'POST' }))
    await shows(page, 'refused token_revoked')
    t.equal(count(output(), '"event":"accepted"'), 1)
    t.equal(count(output(), '"url":"/token"') - before, 2, 'the second is for the refused one')
  })

  t.test('Vue: the state is rendered, and the form sends', { buffered: true }, async (t) => {
    const { url } = await startFile(t, SERVER)
    const page = await openPage(t, browser, `${url}/plain.html`)
    await logIn(page, 'ann')
    await page.goto(`${url}/vue.html`)
    await shows(page, /^open/)
    await hears(page, 'server: hello ann')
    await say(page, 'hello')
    await hears(page, 'ann: hello')
    await page.evaluate(() => fetch('/logout', { method: 'POST' }))
    await shows(page, 'refused token_revoked')
  })

  t.test('the first example of the README of the client works as it stands', { buffered: true }, async (t) => {
    const { url } = await startFile(t, SERVER)
    const page = await openPage(t, browser, `${url}/plain.html`)
    await logIn(page, 'ann')
    const [first] = blocksOf(readDocument('lib/client/README.md'))
    const greeted = page.waitForEvent('console', (message) => message.text() === 'server: hello ann')
    const opened = page.waitForEvent('console', (message) => message.text() === 'open')
    await page.addScriptTag({ type: 'module', content: first?.source.replace('fastify-ws-auth/client', '/client.mjs') })
    await t.resolves(Promise.all([opened, greeted]))
  })

  t.test('cookie-login: tickets renew the connection and the login, and a page without a login is refused', { buffered: true }, async (t) => {
    const { url, output } = await startFile(t, 'client/cookie-login.js', { TOKEN_SECONDS: '30' })
    const page = await openPage(t, browser, url)
    await shows(page, 'refused token_missing')
    await page.getByRole('button', { name: 'ann' }).click()
    await hears(page, 'hello ann')
    await eventually(() => count(output(), '"event":"renewed"') >= 1, 'a renewal')
    await shows(page, 'open')
    t.equal(count(output(), '"event":"accepted"'), 1)
    t.equal(count(output(), '"event":"closed"'), 0)
    t.notMatch(output(), /eyJ/, 'no token is in the log')
  })

  t.test('tabs: four tabs that refresh at once stay logged in', { buffered: true }, async (t) => {
    const { url, output } = await startFile(t, 'client/tabs.js', { LEEWAY: '0' })
    const first = await openPage(t, browser, url)
    await shows(first, 'refused token_missing')
    await first.getByRole('button', { name: 'ann' }).click()
    await hears(first, 'hello ann')
    const tabs = [first, ...await Promise.all([1, 2, 3].map(() => first.context().newPage()))]
    for (let round = 0; round < 3; round++) {
      await Promise.all(tabs.map((page) => page.goto(url)))
      await Promise.all(tabs.map((page) => shows(page, 'open')))
    }
    t.ok(count(output(), '"url":"/refresh"') >= 12, 'each tab has refreshed each time')
    t.equal(count(output(), '"statusCode":401'), 1, 'only the first refresh was refused, before the login')
  })
})

t.test('script: it prints what comes, renews, and ends by SIGTERM', async (t) => {
  const { url, output } = await startFile(t, SERVER, { TOKEN_SECONDS: '3', EXPIRY_GRACE: GRACE })
  const script = spawn(process.execPath, [join(process.cwd(), 'example/client/script.mjs')], { env: { ...process.env, NODE_OPTIONS: '', SERVER: url }, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => script.kill('SIGKILL'))
  const [line] = await once(script.stdout, 'data')
  t.equal(String(line), 'server: hello ann\n')
  await eventually(() => count(output(), '"event":"renewed"') >= 1, 'a renewal')
  script.kill('SIGTERM')
  t.same(await once(script, 'exit'), [0, null])
  t.equal(count(output(), '"event":"accepted"'), 1)
})
