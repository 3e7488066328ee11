/*
 * The client in pages of real browsers: it renews, comes back after each end that may pass, and stops at each that may not.
 */
import t from 'tap'
import type { Test } from 'tap'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { eventually } from '../helpers/browser'
import { startClientApp } from '../helpers/client-app'
import type { ClientAppSettings } from '../helpers/client-app'
import { connectIn, count } from '../helpers/client-page'
import { ENGINES, WEBKIT } from '../helpers/engines'
import type { Engine, Tab } from '../helpers/engines'
import { buildPackage, tie } from '../helpers/example'
import { startProxy } from '../helpers/proxy'
import { statsOf } from '../helpers/stats'

type Scenario = (t: Test, engine: Engine) => Promise<void>

/** The delays of a page that need not be waited for, in milliseconds. */
const SOON = { base: 100, crowd: 300 }

async function openPage (t: Test, engine: Engine, settings?: ClientAppSettings) {
  const app = await startClientApp(t, settings)
  return { ...app, tab: await engine.open(t, app.url) }
}

/** Starts a server in a process of its own. */
async function startProcess (t: Test, port = 0): Promise<{ child: ChildProcess, port: number }> {
  const child = spawn(process.execPath, [...process.execArgv, require.resolve('../helpers/client-server'), String(port)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  tie(child, child.pid)
  t.teardown(() => { child.kill('SIGKILL') })
  return { child, port: (await once(child, 'message'))[0] as number }
}

/** An empty page of another site. */
function elsewhere (url: string): string {
  return `${url.replace('127.0.0.1', 'localhost')}/empty`
}

/** Whether the browser has given a page back as it was left. */
async function isKept (tab: Tab): Promise<boolean> {
  await eventually(async () => (await pageEvents(tab).catch(() => [])).length > 0, 'the page is there')
  return (await pageEvents(tab)).includes('pageshow persisted')
}

async function pageEvents (tab: Tab): Promise<string[]> {
  return await tab.run<string[]>('globalThis.pageEvents ?? []')
}

const SCENARIOS: Record<string, Scenario> = {
  'a page renews its token three times on one connection': async (t, engine) => {
    // A busy machine is late.
    const { tab, asked, url } = await openPage(t, engine, { plugin: { expiryGrace: 20_000 } })
    const client = await connectIn(tab, url + '/ws', { lives: [4] })
    await client.echo('before')
    const { calls } = await client.until(({ states }) => count(states, 'open') >= 4, 'three renewals')
    await client.echo('after')
    const { events, states } = await client.report()
    t.same(events, ['open', 'message before', 'message after'])
    t.same(new Set(states.slice(1)), new Set(['open']))
    t.same(calls.slice(0, 4), ['connect', 'renew', 'renew', 'renew'])
    t.same([asked.upgrades, asked.dryRuns], [1, 0])
  },

  'a page whose token expires gets another one and connects again': async (t, engine) => {
    const { tab, asked } = await openPage(t, engine, { plugin: { renewal: false } })
    const client = await connectIn(tab, '/ws', { lives: [6, 60], retry: SOON })
    const { events, calls } = await client.opened(2)
    t.same(events, ['open', 'close 3000 token_expired', 'open'])
    t.same(calls, ['connect', 'rejected WS_AUTH_TOKEN_EXPIRED'])
    t.same([asked.upgrades, asked.dryRuns], [2, 0])
  },

  'a page whose tokens are refused stops after two of them': async (t, engine) => {
    const { tab, asked } = await openPage(t, engine)
    const client = await connectIn(tab, '/ws', { lives: [-10], retry: SOON })
    const { state, calls, events } = await client.is('refused')
    t.match(state, { end: { code: 1006, reason: 'token_expired', status: 401, wasOpen: false } })
    t.same(calls, ['connect', 'rejected WS_AUTH_TOKEN_EXPIRED'])
    t.same(events, ['error token_expired'])
    await tab.run('new Promise((resolve) => setTimeout(resolve, 1000))')
    t.same(asked, { upgrades: 2, tokens: 2, tickets: 0, dryRuns: 2 })
  },

  'a page with rejectWith auto is told of a refusal without a dry run': async (t, engine) => {
    const { tab, asked } = await openPage(t, engine, { plugin: { rejectWith: 'auto' } })
    const client = await connectIn(tab, '/ws', { lives: [-10], retry: SOON })
    const { state, events } = await client.is('refused')
    t.match(state, { end: { code: 3000, reason: 'token_expired', wasOpen: false } })
    t.same(events, ['error token_expired'])
    t.same(asked, { upgrades: 2, tokens: 2, tickets: 0, dryRuns: 0 })
  },

  'a page whose user is logged out stops, and connects again after the next login': async (t, engine) => {
    const { tab, asked, server, size } = await openPage(t, engine)
    const client = await connectIn(tab, '/ws', { lives: [60, null, 60], retry: SOON })
    await client.opened()
    await server.app.wsAuth.revoke({ sub: 'ann' })
    const { state, events, calls } = await client.is('refused')
    t.match(state, { end: { reason: 'token_revoked' } })
    t.same(events, ['open', 'close 3000 token_revoked', 'error token_revoked'])
    t.same(calls, ['connect', 'rejected WS_AUTH_TOKEN_REVOKED'])
    t.same([asked.upgrades, size()], [1, 0])
    await tab.run('new Promise((resolve) => setTimeout(resolve, 1100))')
    await client.reconnect()
    await client.opened(2)
    await client.echo('again')
    t.equal(asked.upgrades, 2)
  },

  'a page comes back after a deployment with the token that it has': async (t, engine) => {
    const { tab, asked, server } = await openPage(t, engine)
    const clients = await Promise.all(Array.from({ length: 20 }, async (_, index) => await connectIn(tab, '/ws', { lives: [600], retry: SOON }, `socket ${index}`)))
    for (const client of clients) await client.opened()
    await server.restart()
    for (const client of clients) {
      const { events, calls } = await client.opened(2)
      t.same(events, ['open', 'close 1001 shutdown', 'open'])
      t.same(calls, ['connect'])
    }
    t.equal(asked.tokens, 20)
  },

  'a page comes back after its server was killed and started again': async (t, engine) => {
    const { tab } = await openPage(t, engine)
    const { child, port } = await startProcess(t)
    const client = await connectIn(tab, `ws://127.0.0.1:${port}/ws`, { lives: [60], retry: SOON })
    await client.opened()
    await client.echo('before')
    child.kill('SIGKILL')
    const { state } = await client.is('waiting')
    t.match(state, { end: { code: 1006 } })
    await client.until(({ states }) => count(states, 'waiting') >= 2, 'a vain attempt')
    await startProcess(t, port)
    const { events, calls } = await client.opened(2)
    t.same(events, ['open', 'message before', 'close 1006', 'open'])
    t.same(calls, ['connect'])
    await client.echo('after')
  },

  'a page closes its connection when it is left, and opens it when it is back': async (t, engine) => {
    const { tab, url, size, server } = await openPage(t, engine)
    const client = await connectIn(tab, '/ws', { lives: [60] })
    await client.echo('before')
    await tab.goto(elsewhere(url))
    await eventually(() => size() === 0, 'no connection is open')
    t.same(statsOf(server.app).closed, { client: 1 })
    await tab.back()
    if (!await isKept(tab)) {
      // Firefox loads a page anew that had a connection when it was left.
      t.equal(engine.name, 'Firefox')
      await (await connectIn(tab)).opened()
    } else {
      const { events, states } = await client.opened(2)
      t.same(events, ['open', 'message before', 'close 1000', 'open'])
      t.same(states, ['connecting', 'open', 'paused pagehide', 'connecting', 'open'])
    }
    t.equal(size(), 1)
  },

  'a page that waits makes no attempt while the browser keeps it, and connects when it is back': async (t, engine) => {
    const { tab, url, asked, server } = await openPage(t, engine)
    const client = await connectIn(tab, '/ws', { lives: [60], retry: { base: 3_600_000, max: 3_600_000 } })
    await client.opened()
    await server.app.wsAuth.disconnect({ sub: 'ann' }, { code: 4000, reason: 'later' })
    await client.is('waiting')
    await tab.goto(elsewhere(url))
    const { upgrades } = asked
    await new Promise((resolve) => setTimeout(resolve, 1500))
    t.equal(asked.upgrades, upgrades)
    await tab.back()
    const { events, states } = await client.opened(2)
    t.ok(await isKept(tab))
    t.same(events, ['open', 'close 4000 later', 'open'])
    t.same(states, ['connecting', 'open', 'waiting', 'paused pagehide', 'connecting', 'open'])
  }
}

/** Those that need a browser whose network can be taken away. */
const OFFLINE: Record<string, Scenario> = {
  'a page that changes its network finds the lost connection 5 s after it is online, and opens another': async (t, engine) => {
    const app = await startClientApp(t)
    const proxy = await startProxy(t, { host: '127.0.0.1', port: app.port })
    const tab = await engine.open(t, `http://127.0.0.1:${proxy.port}/`)
    const client = await connectIn(tab, '/ws', { lives: [60], retry: SOON })
    await client.opened()
    proxy.lose()
    // A connection is asked only after a silence of 5 s.
    await tab.run('new Promise((resolve) => setTimeout(resolve, 5100))')
    t.same((await client.report()).states, ['connecting', 'open'], 'the page is not told')
    await tab.setOffline(true)
    const from = Date.now()
    await tab.setOffline(false)
    await eventually(async () => (await pageEvents(tab)).includes('online'), 'the page is online')
    const { events } = await client.opened(2)
    const took = Date.now() - from
    t.same(events, ['open', 'close 1006', 'open'])
    t.ok(took > 4000 && took < 25_000, `after ${took} ms`)
    await client.echo('by the new network')
  },

  'a page that goes offline keeps its connection, and one without a connection waits until it is online': async (t, engine) => {
    const { tab, server } = await openPage(t, engine)
    const staying = await connectIn(tab, '/ws', { lives: [60] }, 'staying')
    const ended = await connectIn(tab, '/ws', { lives: [60], sub: 'bea', retry: SOON }, 'ended')
    await Promise.all([staying.opened(), ended.opened()])
    await tab.setOffline(true)
    await eventually(async () => (await pageEvents(tab)).includes('offline'), 'the page is offline')
    await server.app.wsAuth.disconnect({ sub: 'bea' }, { code: 4000, reason: 'later' })
    await ended.is('paused')
    await tab.setOffline(false)
    const { events, states, calls } = await ended.opened(2)
    t.same(events, ['open', 'close 4000 later', 'open'])
    t.same(states, ['connecting', 'open', 'paused offline', 'connecting', 'open'])
    t.same(calls, ['connect'])
    await staying.echo('still here')
    t.same((await staying.report()).events, ['open', 'message still here'])
  }
}

t.test('the client lasts in pages', async (t) => {
  await buildPackage()
  t.jobs = 3
  for (const { name, skip, start } of [...ENGINES, WEBKIT]) {
    t.test(`in ${name}`, { skip, buffered: true }, async (t) => {
      const engine = await start(t)
      t.comment(`${name} ${engine.version}`)
      const scenarios = Object.entries({ ...SCENARIOS, ...engine.hasManyPages ? OFFLINE : {} })
      t.jobs = engine.hasManyPages ? scenarios.length : 1
      for (const [title, run] of scenarios) t.test(title, { buffered: true }, async (t) => await run(t, engine))
    })
  }
})
