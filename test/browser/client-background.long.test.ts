/*
 * The client in pages that nobody looks at, and for a long time: frozen and hidden tabs of Chromium, and thousands of connections of one page, of which
 * `CLIENT_PART` is the part.
 */
import t from 'tap'
import type { Test } from 'tap'
import type { Browser, BrowserContext, CDPSession } from 'playwright-core'
import { eventually, openPage, reasonToSkip, startBrowser } from '../helpers/browser'
import { startClientApp } from '../helpers/client-app'
import type { ClientApp, ClientAppSettings } from '../helpers/client-app'
import { connectIn, count } from '../helpers/client-page'
import type { PageClient, PageOptions } from '../helpers/client-page'
import { tabOf } from '../helpers/engines'
import type { Tab } from '../helpers/engines'
import { buildPackage } from '../helpers/example'
import { PART } from '../helpers/part'
import { statsOf } from '../helpers/stats'

/** Wake-ups of hidden pages are a minute apart after these seconds, in place of after five minutes. */
const THROTTLED = ['--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/5']
/** How often two connections are opened and closed, until Chromium has compiled, and while it is measured. */
const ROUNDS = [200, 800 * PART] as const
const CONNECTIONS = 2 * (ROUNDS[0] + ROUNDS[1])
const SOON = { base: 100, crowd: 300 }

interface Hidden extends ClientApp {
  readonly tab: Tab
  readonly devTools: CDPSession
}

/** A tab behind another one. What is really a tab is in the default context only. */
async function openHidden (t: Test, browser: Browser, settings?: ClientAppSettings): Promise<Hidden> {
  const app = await startClientApp(t, settings)
  const context = browser.contexts()[0] as BrowserContext
  const page = await context.newPage()
  await page.goto(app.url)
  const front = await context.newPage()
  await front.bringToFront()
  const devTools = await context.newCDPSession(page)
  const tab = tabOf(page, devTools)
  await eventually(async () => await tab.run('document.visibilityState') === 'hidden', 'the page is in the background')
  return { ...app, tab, devTools }
}

/** What happens while a page is frozen. */
interface Meanwhile {
  readonly settings?: ClientAppSettings
  readonly lives?: PageOptions['lives']
  readonly run: (app: ClientApp) => Promise<unknown>
  /** What the page is told at last. */
  readonly events: RegExp
  readonly calls: RegExp
}

const FROZEN: Record<string, Meanwhile> = {
  'the server closes its connection': {
    run: async ({ server: { app } }) => await app.wsAuth.disconnect({ sub: 'ann' }, { code: 4000, reason: 'later' }),
    events: /^open,close (?:1006|4000 later),open$/,
    calls: /^connect$/
  },
  'its token expires': {
    settings: { plugin: { renewal: false } },
    // Longer than a busy machine takes to freeze the page.
    lives: [30, 60],
    run: async ({ size }) => await eventually(() => size() === 0, 'it has expired'),
    events: /^open,close (?:1006|3000 token_expired),open$/,
    calls: /^connect,(?:renew|connect|rejected WS_AUTH_TOKEN_EXPIRED)/
  },
  'its user is logged out': {
    lives: [60, null],
    run: async ({ server: { app } }) => await app.wsAuth.revoke({ sub: 'ann' }),
    events: /^open,close (?:1006|3000 token_revoked),error token_revoked$/,
    calls: /^connect,rejected WS_AUTH_TOKEN_REVOKED$/
  },
  'a new version of the server is deployed': {
    run: async ({ server }) => await server.restart(),
    events: /^open,close (?:1006|1001 shutdown),open$/,
    calls: /^connect$/
  }
}

async function setFrozen ({ tab, devTools }: Hidden, isFrozen: boolean): Promise<void> {
  await devTools.send('Page.setWebLifecycleState', { state: isFrozen ? 'frozen' : 'active' })
  if (isFrozen) await eventually(async () => (await tab.run<string[]>('pageEvents')).includes('freeze'), 'the page is frozen')
}

async function freeze (t: Test, browser: Browser, { settings, lives = [60], run, events: expected, calls: expectedCalls }: Meanwhile): Promise<void> {
  const hidden = await openHidden(t, browser, settings)
  const { tab, size } = hidden
  const client = await connectIn(tab, '/ws', { lives, retry: SOON })
  await client.opened()
  await setFrozen(hidden, true)
  await run(hidden)
  await new Promise((resolve) => setTimeout(resolve, 1000))
  t.same((await client.report()).events, ['open'], 'a frozen page is told nothing')
  await setFrozen(hidden, false)
  const { events, calls, state } = await client.until(({ events }) => expected.test(events.join()), String(expected))
  t.match(calls.join(), expectedCalls)
  const isRefused = state.status === 'refused'
  t.equal(size(), isRefused ? 0 : 1, events.join())
  if (!isRefused) await client.echo('again')
}

/** The heap of a page after a collection of garbage, in bytes, and its listeners. */
async function measure (devTools: CDPSession): Promise<{ heap: number, listeners: number }> {
  for (let i = 0; i < 2; i++) await devTools.send('HeapProfiler.collectGarbage')
  const { metrics } = await devTools.send('Performance.getMetrics')
  const valueOf = (name: string): number => metrics.find((metric) => metric.name === name)?.value ?? NaN
  return { heap: valueOf('JSHeapUsedSize'), listeners: valueOf('JSEventListeners') }
}

t.test('the client lasts in pages in the background, and leaves nothing behind', { skip: reasonToSkip() }, async (t) => {
  await buildPackage()
  const browser = await startBrowser(t, THROTTLED)
  t.jobs = 7

  for (const [what, meanwhile] of Object.entries(FROZEN)) {
    t.test(`a frozen page does the right thing when it is thawed, if meanwhile ${what}`, { buffered: true }, async (t) => await freeze(t, browser, meanwhile))
  }

  t.test('a frozen page that waits connects when it is thawed', { buffered: true }, async (t) => {
    const hidden = await openHidden(t, browser)
    const client = await connectIn(hidden.tab, '/ws', { lives: [60], retry: { base: 3_600_000, max: 3_600_000 } })
    await client.opened()
    await hidden.server.app.wsAuth.disconnect({ sub: 'ann' }, { code: 4000, reason: 'later' })
    await client.is('waiting')
    await setFrozen(hidden, true)
    await setFrozen(hidden, false)
    t.same((await client.opened(2)).events, ['open', 'close 4000 later', 'open'])
    t.equal(await hidden.tab.run('document.visibilityState'), 'hidden')
  })

  t.test('a hidden page whose timers fire once a minute renews in time', { buffered: true }, async (t) => {
    const { tab, asked, server } = await openHidden(t, browser, { plugin: { expiryGrace: 5000 } })
    const clients: PageClient[] = []
    for (const name of ['first', 'second']) clients.push(await connectIn(tab, '/ws', { lives: [8], sub: name }, name))
    await tab.run(`(() => {
      globalThis.last = performance.now()
      globalThis.longest = 0
      const tick = () => {
        longest = Math.max(longest, performance.now() - last)
        last = performance.now()
        setTimeout(tick, 100)
      }
      tick()
    })()`)
    for (const client of clients) await client.until(({ states }) => count(states, 'open') >= 5, 'four renewals')
    const silence = await tab.run<number>('Math.max(longest, performance.now() - last)')
    t.ok(silence > 10_000, `no timer for ${silence} ms`)
    for (const client of clients) t.same((await client.report()).events, ['open'])
    t.same([asked.upgrades, asked.dryRuns], [2, 0])
    t.same(statsOf(server.app).closed, {})
    t.equal(await tab.run('document.visibilityState'), 'hidden')
  })
})

t.test(`${CONNECTIONS} connections of one page leave neither memory nor listeners behind`, { skip: reasonToSkip() }, async (t) => {
  // Not among pages whose timers fire once a minute.
  const browser = await startBrowser(t)
  const app = await startClientApp(t)
  const page = await openPage(t, browser, app.url)
  const devTools = await page.context().newCDPSession(page)
  await devTools.send('Performance.enable')
  const tab = tabOf(page, devTools)
  const lasting = await connectIn(tab)
  await lasting.opened()
  await tab.run(`void (globalThis.soak = async (times) => {
    const { connect } = await import('/client.mjs')
    const { token } = await (await fetch('/token', { method: 'POST' })).json()
    const lasting = connect('/ws', { token: () => token })
    for (let i = 0; i < times; i++) {
      const socket = connect('/ws', { token: () => token })
      await Promise.all([socket.opened, lasting.opened])
      socket.send('hello')
      await new Promise((resolve) => { socket.onmessage = resolve })
      socket.close()
      lasting.reconnect()
    }
    lasting.close()
  })`)
  await tab.run(`soak(${ROUNDS[0]})`)
  const before = await measure(devTools)
  await tab.run(`soak(${ROUNDS[1]})`)
  const after = await measure(devTools)
  t.ok(app.asked.upgrades >= CONNECTIONS, `${app.asked.upgrades} connections`)
  t.ok(after.heap - before.heap < 100_000, `the heap grew by ${after.heap - before.heap} bytes`)
  t.equal(after.listeners, before.listeners)
  await eventually(() => app.size() === 1, 'one connection is open')
  await lasting.echo('still here')
})
