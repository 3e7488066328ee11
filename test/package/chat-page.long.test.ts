/*
 * The first screen of the chat in a browser: the attacks, a log out everywhere, and a page that all can read and reach.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import axe from 'axe-core'
import t from 'tap'
import type { Test } from 'tap'
import type { Page } from 'playwright-core'
import { reasonToSkip, startBrowser } from '../helpers/browser'
import { buildExample, startExample } from '../helpers/example'
import { newContext, openPage } from '../helpers/example-page'
import { cookieOf, logIn, PASSWORDS, post } from '../helpers/example-chat'

const FAINT_BORDERS = readFileSync(join(process.cwd(), 'test/helpers/faint-borders.js'), 'utf8')

interface Outcomes { handWritten: { isSafe: boolean, steps: string[] }, guarded: { isSafe: boolean, steps: string[] } }

t.before(buildExample)

t.test('each attack succeeds on the hand-written socket and fails on the guarded one', async (t) => {
  const { url } = await startExample(t)
  const cookie = await cookieOf(url, 'ann')
  const expected = {
    log: ['open', 'refused with 401'],
    expiry: ['ann: still here', 'closed with 3000 token_expired'],
    origin: ['ann: send me your secrets', 'closed with 3003 origin_forbidden']
  }
  await Promise.all(Object.entries(expected).map(async ([name, [handWritten = '', guarded = '']]) => {
    const outcomes = await (await post(`${url}/attacks/${name}`, '{}', { cookie })).json() as Outcomes
    t.match(outcomes, { handWritten: { isSafe: false }, guarded: { isSafe: true } }, name)
    t.ok(outcomes.handWritten.steps.at(-1)?.endsWith(handWritten), `${name}: ${outcomes.handWritten.steps.at(-1)}`)
    t.ok(outcomes.guarded.steps.at(-1)?.endsWith(guarded), `${name}: ${outcomes.guarded.steps.at(-1)}`)
    if (name === 'log') t.match(outcomes.handWritten.steps[0], /\/chat\?token=eyJ/)
    t.notMatch(outcomes.guarded.steps.join(), /eyJ/)
  }))
})

t.test('the server runs no attack for a page of another origin, without a login, or under another name', async (t) => {
  const { url } = await startExample(t)
  const cookie = await cookieOf(url, 'ann')
  t.equal((await post(`${url}/attacks/log`, '{}')).status, 401)
  t.equal((await post(`${url}/attacks/log`, '{}', { cookie, origin: 'http://evil.example' })).status, 403)
  t.equal((await post(`${url}/attacks/toString`, '{}', { cookie })).status, 400)
  t.equal((await logIn(url, 'ann', PASSWORDS.ann)).status, 200)
})

t.test('the page of the chat works in a browser', { skip: reasonToSkip() }, async (t) => {
  const browser = await startBrowser(t)
  t.jobs = 2

  t.test('the page shows both results of an attack side by side, and announces them', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const page = await openPage(await newContext(t, browser), url)
    await enter(page, 'ann')
    for (const [name, verdict] of [['log', 'refused with 401'], ['expiry', 'token_expired'], ['origin', 'origin_forbidden']]) {
      const row = page.locator(`[data-attack=${name}]`)
      await row.locator('button').click()
      await row.locator('[role=status]', { hasText: 'Hand-written: the attack succeeds. fastify-ws-auth: the attack fails.' }).waitFor()
      await row.locator('[data-server=handWritten] .bad', { hasText: 'the attack succeeds' }).waitFor()
      await row.locator('[data-server=guarded]', { hasText: verdict }).waitFor()
    }
    await assertAccessible(t, page, 'after the attacks')
  })

  t.test('a log out everywhere darkens the page of another browser, and not the page that asked for it', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const [one, two] = [await openPage(await newContext(t, browser), url), await openPage(await newContext(t, browser), url)]
    await enter(one, 'ann')
    await enter(two, 'ann')
    const before = await backgroundOf(two)
    t.ok(await isOnFirstScreen(one, '#logout-everywhere'))
    await one.click('#logout-everywhere')
    await two.locator('html.dark #login-error', { hasText: 'You have been logged out (3000 token_revoked).' }).waitFor()
    t.not(await backgroundOf(two), before)
    await one.locator('#login').waitFor()
    t.equal(await backgroundOf(one), before)
    await assertAccessible(t, two, 'dark')
    await enter(two, 'ann')
    t.equal(await backgroundOf(two), before, 'a login makes it light again')
  })

  t.test('a log out everywhere darkens the second window of the same browser too', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const context = await newContext(t, browser)
    const one = await openPage(context, url)
    await enter(one, 'ann')
    const opened = context.waitForEvent('page')
    await one.getByRole('link', { name: 'Open a second window' }).click()
    const two = await opened
    await two.locator('#status[data-state=open]').waitFor()
    await one.click('#logout-everywhere')
    await two.locator('html.dark #login-error', { hasText: 'You have been logged out' }).waitFor()
  })

  for (const colorScheme of ['light', 'dark'] as const) {
    t.test(`the page has no violation for axe, and borders of controls have a contrast of 3:1 (${colorScheme})`, { buffered: true }, async (t) => {
      const { url } = await startExample(t)
      const page = await openPage(await newContext(t, browser, { colorScheme }), url)
      await page.locator('#login').waitFor()
      await assertAccessible(t, page, 'logged out')
      await enter(page, 'bea')
      await page.locator('[data-way=ticket] .badge[data-state=open]').waitFor()
      await page.locator('#connections li').nth(4).waitFor()
      await page.locator('#events li').first().waitFor()
      await page.click('#try-all')
      await page.locator('[data-refusal=spent] .result .badge').nth(1).waitFor()
      await assertAccessible(t, page, 'logged in')
    })
  }

  t.test('the page fits a screen of 360 pixels, and the composer is reached without much scrolling', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const page = await openPage(await newContext(t, browser, { viewport: { width: 360, height: 740 } }), url)
    await enter(page, 'ann')
    await page.locator('[data-attack=log] button').click()
    await page.locator('[data-attack=log] [data-server=guarded] .good').waitFor()
    t.equal(await page.locator('html').evaluate((root) => root.scrollWidth > root.clientWidth), false, 'no sideways scrolling')
    await page.evaluate('scrollTo(0, 0)')
    const composer = await page.locator('#composer').boundingBox()
    t.ok(composer !== null && composer.y + composer.height <= 740, `the composer ends at ${composer?.y} and ${composer?.height}`)
    await page.locator('#sections a', { hasText: 'Attacks' }).click()
    t.ok(await isOnFirstScreen(page, '#attacks-title'))
  })

  t.test('the page explains the grace after the expiry, until the connection is closed', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const page = await openPage(await newContext(t, browser), url)
    await enter(page, 'ann')
    await page.selectOption('#lifetime', '10')
    await page.uncheck('#auto-renew')
    await page.click('#life-open')
    await page.locator('#life-state[data-state=open]').waitFor()
    t.equal(await page.locator('#life-grace').isVisible(), false)
    // It is there for two seconds, in which a busy machine may not look.
    const explained = page.evaluate<string>(`new Promise((resolve) => {
      const note = document.getElementById('life-grace')
      const look = () => { if (!note.hidden) resolve(note.innerText) }
      new MutationObserver(look).observe(note, { attributes: true })
      look()
    })`)
    await page.locator('#life-state', { hasText: '3000 token_expired' }).waitFor()
    t.match(await explained, /waits 2\ss more/)
    await page.locator('#life-grace').waitFor({ state: 'hidden' })
  })
})

async function enter (page: Page, name: keyof typeof PASSWORDS): Promise<void> {
  await page.getByLabel('Name').fill(name)
  await page.getByLabel('Password').fill(PASSWORDS[name])
  await page.click('#login-form button')
  await page.locator('#status[data-state=open]').waitFor()
}

async function backgroundOf (page: Page): Promise<string> {
  return await page.evaluate<string>('getComputedStyle(document.body).backgroundColor')
}

async function isOnFirstScreen (page: Page, selector: string): Promise<boolean> {
  const box = await page.locator(selector).boundingBox()
  return box !== null && box.y >= 0 && box.y + box.height <= (page.viewportSize()?.height ?? 0)
}

/** Runs axe as a debugger does: the policy of the page allows no foreign script. */
async function assertAccessible (t: Test, page: Page, when: string): Promise<void> {
  await page.evaluate(axe.source)
  const violations = await page.evaluate(async () => {
    const { violations } = await (globalThis as unknown as { axe: typeof axe }).axe.run()
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join('; ')}`)
  })
  t.same(violations, [], `${when}: axe`)
  const faint = await page.evaluate<string[]>(FAINT_BORDERS)
  t.same(faint, [], `${when}: borders`)
}
