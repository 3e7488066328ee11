/*
 * The quick start of the README, exactly the file that a user copies: two browser windows talk, and roles decide.
 */
import type { Browser, Page } from 'playwright-core'
import t from 'tap'
import type { Test } from 'tap'
import { openPage, reasonToSkip, startBrowser } from '../helpers/browser'
import { buildPackage, startFile } from '../helpers/example'

const FILE = 'quick-start/server.js'

t.before(buildPackage)

function logIn (url: string, body: string, type = 'application/json'): Promise<Response> {
  return fetch(`${url}/login`, { method: 'POST', headers: { 'content-type': type }, body })
}

/** The lines of the chat that a window shows. */
function lines (page: Page, text: string): ReturnType<Page['locator']> {
  return page.locator('li', { hasText: text })
}

/** A window of a browser of its own, in which a user has logged in. */
async function openWindow (t: Test, browser: Browser, url: string, name: string, greeting: string): Promise<Page> {
  const page = await openPage(t, browser, url)
  await lines(page, 'refused token_missing').waitFor()
  await page.getByRole('button', { name }).click()
  await lines(page, greeting).waitFor()
  return page
}

async function say (page: Page, text: string): Promise<void> {
  await page.getByLabel('Message').fill(text)
  await page.keyboard.press('Enter')
}

t.test('the quick start sets a cookie that no script and no other site can use', async (t) => {
  const { url } = await startFile(t, FILE)
  const response = await logIn(url, '{"name":"ann"}')
  t.equal(response.status, 204)
  t.match(response.headers.getSetCookie(), [/^token=[\w.-]+; Path=\/; HttpOnly; SameSite=Strict$/])

  const live = await startFile(t, FILE, { NODE_ENV: 'production' })
  t.match((await logIn(live.url, '{"name":"ann"}')).headers.getSetCookie(), [/; HttpOnly; Secure; SameSite=Strict$/])
})

t.test('the quick start logs in its users only, and only by JSON, which no form of another site can send', async (t) => {
  const { url } = await startFile(t, FILE)
  for (const body of ['{"name":"mallory"}', '{"name":"__proto__"}', '{}', 'null', '[]', '7']) {
    t.equal((await logIn(url, body)).status, 401, body)
  }
  t.equal((await logIn(url, '{"name":"ann"}', 'text/plain')).status, 401)
  t.equal((await logIn(url, 'name=ann', 'application/x-www-form-urlencoded')).status, 415)
})

t.test('the quick start keeps logins over a restart if JWT_SECRET is the same, and only then', async (t) => {
  const env = { JWT_SECRET: 'a secret of the tests, and long enough' }
  const [one, two, other] = [await startFile(t, FILE, env), await startFile(t, FILE, env), await startFile(t, FILE)]
  const [cookie = ''] = (await logIn(one.url, '{"name":"ann"}')).headers.getSetCookie()
  const statusAt = async (url: string): Promise<number> => (await fetch(`${url}/chat`, { headers: { cookie } })).status
  t.equal(await statusAt(two.url), 426, 'it would be upgraded')
  t.equal(await statusAt(other.url), 401)
})

t.test('the quick start works in a browser', { skip: reasonToSkip() }, async (t) => {
  const browser = await startBrowser(t)

  t.test('two windows exchange messages, a message stays plain text, and a reload stays logged in', async (t) => {
    const { url, output } = await startFile(t, FILE)
    const ann = await openWindow(t, browser, url, 'ann', 'server: hello ann')
    const bea = await openWindow(t, browser, url, 'bea', 'server: hello bea')
    await say(ann, 'good <b>morning</b>')
    for (const page of [ann, bea]) await lines(page, 'ann: good <b>morning</b>').waitFor()
    t.equal(await bea.locator('b').count(), 0)
    await bea.reload()
    await lines(bea, 'server: hello bea').waitFor()
    await say(bea, 'and to you')
    await lines(ann, 'bea: and to you').waitFor()
    t.notMatch(output(), /eyJ/, 'no token is in the log')
  })

  t.test('a member cannot clear the chat, an admin can, and a user without the role is refused', async (t) => {
    const { url } = await startFile(t, FILE)
    const ann = await openWindow(t, browser, url, 'ann', 'server: hello ann')
    const bea = await openWindow(t, browser, url, 'bea', 'server: hello bea')
    const eve = await openWindow(t, browser, url, 'eve', 'refused forbidden')
    await say(bea, 'first')
    await lines(ann, 'bea: first').waitFor()
    await say(ann, '/clear')
    await lines(ann, 'server: only an admin may clear').waitFor()
    t.equal(await lines(ann, 'bea: first').count(), 1)
    await say(bea, '/clear')
    for (const page of [ann, bea]) {
      await lines(page, 'bea: /clear').waitFor()
      t.equal(await page.locator('li').count(), 1)
    }
    t.equal(await lines(eve, 'bea').count(), 0)
  })

  t.test('a window comes back after a restart, and is refused if the restart has ended the login', async (t) => {
    const env = { JWT_SECRET: 'a secret of the tests, and long enough' }
    const first = await startFile(t, FILE, env)
    const port = { PORT: new URL(first.url).port }
    const ann = await openWindow(t, browser, first.url, 'ann', 'server: hello ann')
    await first.stop()
    // There is one for each attempt that fails.
    await lines(ann, 'waiting').first().waitFor()
    const second = await startFile(t, FILE, { ...env, ...port })
    await lines(ann, 'server: hello ann').nth(1).waitFor()
    await say(ann, 'back again')
    await lines(ann, 'ann: back again').waitFor()
    t.equal(await lines(ann, 'refused').count(), 1, 'before the login alone')

    await second.stop()
    await startFile(t, FILE, port)
    await lines(ann, 'refused token_invalid').waitFor()
  })
})
