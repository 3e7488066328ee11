/*
 * Browsers behind one face, so that a test of a page runs in each of them.
 */
import { existsSync } from 'node:fs'
import type { BrowserContext, CDPSession, Page } from 'playwright-core'
import type { Test } from 'tap'
import { reasonToSkip as reasonWithoutChromium, startBrowser } from './browser'
import { FIREFOX, startFirefox } from './firefox'
import { reasonWithoutWebKit, startWebKit } from './webkit'

/** What ends with a test. */
export type Teardown = Pick<Test, 'teardown'>

/** A page of a browser. */
export interface Tab {
  goto (url: string): Promise<void>
  /** Goes back in its history, and resolves when the page of before is there. */
  back (): Promise<void>
  /** The result of an expression of the page, awaited, as JSON carries it. */
  run<T> (expression: string): Promise<T>
  /** Another tab with the same cookies and the same storage. */
  sibling (url: string): Promise<Tab>
  /** Takes the network from the page, or gives it back. */
  setOffline (isOffline: boolean): Promise<void>
  close (): Promise<void>
}

/** A browser that runs. */
export interface Engine {
  readonly name: string
  readonly version: string
  /** Whether pages can be open at the same time, and lose their network. */
  readonly hasManyPages: boolean
  /** Opens a page that shares nothing with others. */
  open (t: Teardown, url: string): Promise<Tab>
}

/** Why there can be no test in Firefox here, or `false`. In CI nothing is skipped: it fails. */
function reasonWithoutFirefox (): string | false {
  if (existsSync(FIREFOX) || process.env.CI === 'true') return false
  const reason = `NOT TESTED in Firefox: there is no ${FIREFOX}. Install firefox-esr or set FIREFOX_PATH`
  console.error(reason)
  return reason
}

/** The browsers in which pages are tested. */
export const ENGINES = [
  { name: 'Chromium', skip: reasonWithoutChromium(), start: startChromium },
  { name: 'Firefox', skip: reasonWithoutFirefox(), start: startFirefox }
]

/** It can do less, and is not installed in CI. */
export const WEBKIT = { name: 'WebKit', skip: reasonWithoutWebKit(), start: startWebKit }

/** Starts a Chromium. */
export async function startChromium (t: Teardown): Promise<Engine> {
  const browser = await startBrowser(t)
  return {
    name: 'Chromium',
    version: browser.version(),
    hasManyPages: true,
    open: async (t, url) => {
      const context = await browser.newContext()
      t.teardown(() => context.close())
      return await openTab(context, url)
    }
  }
}

async function openTab (context: BrowserContext, url: string): Promise<Tab> {
  const page = await context.newPage()
  await page.goto(url)
  return tabOf(page, await context.newCDPSession(page))
}

/** @param devTools the one session of the page that sets its network */
export function tabOf (page: Page, devTools: CDPSession): Tab {
  return {
    goto: async (url) => { await page.goto(url) },
    // The navigation ends the expression that asks for it.
    back: async () => {
      const shown = page.waitForEvent('framenavigated')
      await page.evaluate('history.back()').catch(() => {})
      await shown
    },
    run: async (expression) => await page.evaluate(`(async () => (${expression}))()`),
    sibling: async (url) => await openTab(page.context(), url),
    setOffline: async (isOffline) => {
      await devTools.send('Network.enable')
      await devTools.send('Network.emulateNetworkConditions', { offline: isOffline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 })
    },
    close: async () => await page.close()
  }
}
