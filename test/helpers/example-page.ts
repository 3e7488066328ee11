/*
 * Browsers of their own for the page of the chat, and their pages.
 */
import type { Browser, BrowserContext, Page } from 'playwright-core'
import type { Test } from 'tap'
import { TIMEOUT } from './example-chat'

/** What a browser says of answers that a page gets: none of it is about the page. */
const EXPECTED = /^(?:Failed to load resource: |WebSocket connection to \S+ failed: )/

/** A context is a browser of its own: no cookie is shared. A page that throws, or breaks its policy, fails the test. */
export async function newContext (t: Test, browser: Browser, options: Parameters<Browser['newContext']>[0] = {}): Promise<BrowserContext> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light', ...options })
  context.setDefaultTimeout(TIMEOUT)
  context.on('weberror', (error) => t.fail(`the page threw ${error.error()}`))
  context.on('console', (message) => { if (message.type() === 'error' && !EXPECTED.test(message.text())) t.fail(message.text()) })
  t.teardown(() => context.close())
  return context
}

export async function openPage (context: BrowserContext, url: string): Promise<Page> {
  const page = await context.newPage()
  await page.goto(url)
  return page
}
