/*
 * The chat in many tabs: a restart of the server, a log out in one of two browsers, a frozen tab, a network that is gone.
 */
import t from 'tap'
import type { Page } from 'playwright-core'
import { reasonToSkip, startBrowser } from '../helpers/browser'
import { buildExample, startExample } from '../helpers/example'
import { PASSWORDS, SECRET } from '../helpers/example-chat'
import { newContext, openPage } from '../helpers/example-page'

/** Twenty tabs take a minute on two cores: `CHAT_TABS=20`. */
const TABS = Number(process.env.CHAT_TABS ?? 6)

t.before(buildExample)

async function enter (page: Page, name: keyof typeof PASSWORDS): Promise<void> {
  await page.getByLabel('Name').fill(name)
  await page.getByLabel('Password').fill(PASSWORDS[name])
  await page.click('#login-form button')
  await hasState(page, 'open')
}

async function hasState (page: Page, state: string): Promise<void> {
  await page.locator(`#status[data-state=${state}]`).waitFor()
}

async function freeze (page: Page, state: 'frozen' | 'active'): Promise<void> {
  const session = await page.context().newCDPSession(page)
  await session.send('Page.setWebLifecycleState', { state })
  await session.detach()
}

t.test('the chat lives in many tabs of a browser', { skip: reasonToSkip() }, async (t) => {
  const browser = await startBrowser(t)

  t.test(`${TABS} tabs wait while the server is gone, with a countdown, and all of them come back`, async (t) => {
    const env = { JWT_SECRET: SECRET }
    const first = await startExample(t, { env })
    const context = await newContext(t, browser)
    const tabs = [await openPage(context, first.url)]
    await enter(tabs[0] as Page, 'ann')
    for (let i = 1; i < TABS; i++) tabs.push(await openPage(context, first.url))
    await Promise.all(tabs.map((page) => hasState(page, 'open')))
    await first.stop()
    await Promise.all(tabs.map((page) => page.locator('#status', { hasText: /^reconnecting in \d+ s$/ }).waitFor()))
    t.equal(await tabs[3]?.locator('#lost .badge').textContent(), '1001 shutdown')

    const second = await startExample(t, { port: first.port, env })
    await Promise.all(tabs.map((page) => hasState(page, 'open')))
    for (const page of tabs) await page.locator('[data-way=ticket] .badge[data-state=open]').waitFor()
    t.notMatch(second.output(), /eyJ/, 'no token is in the log')
  })

  t.test('a log out ends the tabs of one browser, and those of the other go on', async (t) => {
    const { url } = await startExample(t)
    const one = await newContext(t, browser)
    const [first, other] = [await openPage(one, url), await openPage(await newContext(t, browser), url)]
    await enter(first, 'ann')
    await enter(other, 'ann')
    const second = await openPage(one, url)
    await hasState(second, 'open')
    await first.click('#logout')
    await first.locator('#login').waitFor()
    await second.locator('#login-error', { hasText: 'You have been logged out' }).waitFor()
    await other.getByLabel('Message', { exact: true }).fill('still here')
    await other.click('#composer button')
    await other.locator('#messages .text', { hasText: 'still here' }).waitFor()
    t.equal(await other.locator('#lost').isVisible(), false)
  })

  t.test('a tab that was frozen during a restart comes back, and one that was frozen during a log out asks for a login', async (t) => {
    const env = { JWT_SECRET: SECRET }
    const first = await startExample(t, { env })
    const context = await newContext(t, browser)
    const [page, other] = [await openPage(context, first.url), await openPage(await newContext(t, browser), first.url)]
    await enter(page, 'ann')
    await enter(other, 'ann')
    await freeze(page, 'frozen')
    await first.stop()
    await startExample(t, { port: first.port, env })
    await freeze(page, 'active')
    await hasState(page, 'open')
    await page.locator('[data-way=subprotocol] .badge[data-state=open]').waitFor()
    await hasState(other, 'open')

    await freeze(page, 'frozen')
    await other.click('#logout-everywhere')
    await other.locator('#login').waitFor()
    await freeze(page, 'active')
    await page.locator('#login-error', { hasText: 'You have been logged out' }).waitFor()
    t.pass('both pages have said so')
  })
})
