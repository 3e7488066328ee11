/*
 * What becomes of a connection when nobody looks at its page, when the page is gone, and when the network is.
 */
import t from 'tap'
import type { Test } from 'tap'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import type { FastifyInstance } from 'fastify'
import type fastifyWsAuth from '../../lib/index'
import { sign, start } from '../helpers/app'
import { addPage, eventually, openPage, openSocket, reasonToSkip, startBrowser } from '../helpers/browser'
import type { PageSocket } from '../helpers/browser'
import { buildExample, startExample } from '../helpers/example'
import { seconds } from '../helpers/keys'
import { typeOfEvent } from '../helpers/plain-frames'
import { startProxy } from '../helpers/proxy'
import type { Proxy } from '../helpers/proxy'
import { statsOf } from '../helpers/stats'

/** Comes back by itself, after a random delay and with a new token and a ticket for it, and closes its connection when it is left. */
const SCRIPT = `
  globalThis.events = []
  let socket, timer
  async function connect () {
    const token = await (await fetch('/token', { method: 'POST' })).text()
    const { ticket } = await (await fetch('/ws-ticket', { method: 'POST', headers: { authorization: 'Bearer ' + token } })).json()
    socket = new WebSocket(location.origin.replace('http', 'ws') + '/chat?ticket=' + ticket)
    socket.onopen = () => { events.push('open') }
    socket.onmessage = ({ data }) => { events.push('message ' + data) }
    socket.onclose = ({ code, reason }) => {
      events.push(('close ' + code + ' ' + reason).trim())
      comeBack()
    }
  }
  function comeBack () {
    clearTimeout(timer)
    timer = setTimeout(() => connect().catch(comeBack), 50 + Math.random() * 100)
  }
  addEventListener('pagehide', () => {
    clearTimeout(timer)
    socket.onclose = null
    socket.close(1000)
  })
  addEventListener('pageshow', ({ persisted }) => {
    if (!persisted) return
    events.push('back')
    comeBack()
  })
  connect().catch(comeBack)
  undefined
`

interface Chat {
  readonly app: FastifyInstance
  readonly port: number
  /** Sends a text to all that are open. */
  tell: (text: string) => void
}

/**
 * A chat; each page of it has a token of ann in a cookie, and can have others by `POST /token`.
 *
 * @param life how long those live, in seconds
 */
async function startChat (t: Test, plugin: fastifyWsAuth.WsAuthOptions = {}, life = 60): Promise<Chat> {
  const { app, port } = await start(t, {
    plugin: { tickets: true, rejectWith: 'auto', ...plugin },
    // Browsers open connections in advance, and Fastify waits for the request.
    server: { forceCloseConnections: true },
    routes: (app) => {
      const newToken = (life: number): string => sign({ sub: 'ann', iat: seconds(), exp: seconds(life) })
      app.addHook('onSend', async ({ method }, reply) => {
        if (method === 'GET') reply.header('set-cookie', `token=${newToken(60)}; Path=/; HttpOnly; SameSite=Strict`)
      })
      addPage(app)
      app.post('/token', async () => newToken(life))
      app.get('/chat', { websocket: true }, () => {})
    }
  })
  return { app, port, tell: (text) => { for (const client of app.websocketServer.clients) client.send(text) } }
}

interface Hidden {
  readonly page: Page
  visibility (): Promise<unknown>
  freeze (): Promise<void>
  thaw (): Promise<void>
}

/** A page that nobody looks at since another tab was opened. What is really a tab is in the default context only. */
async function openHidden (browser: Browser, url: string): Promise<Hidden> {
  const context = browser.contexts()[0] as BrowserContext
  const page = await context.newPage()
  await page.goto(url)
  await page.evaluate('document.addEventListener("freeze", () => { globalThis.isFrozen = true })')
  const other = await context.newPage()
  await other.bringToFront()
  const visibility = (): Promise<unknown> => page.evaluate('document.visibilityState')
  await eventually(async () => await visibility() === 'hidden', 'the page is in the background')
  const devTools = await context.newCDPSession(page)
  return {
    page,
    visibility,
    freeze: async () => {
      await devTools.send('Page.setWebLifecycleState', { state: 'frozen' })
      await eventually(() => page.evaluate('globalThis.isFrozen === true'), 'the page is frozen')
    },
    thaw: async () => {
      await devTools.send('Page.setWebLifecycleState', { state: 'active' })
      await page.bringToFront()
    }
  }
}

/** Has a page do what it should, and tells what it was told: it has been open. */
async function openReturning (page: Page): Promise<() => Promise<string[]>> {
  await page.evaluate(SCRIPT)
  const events = (): Promise<string[]> => page.evaluate('globalThis.events')
  await eventually(async () => (await events()).includes('open'), 'the page knows that it is open')
  return events
}

/** A chat behind a network, and a page that was loaded through it. */
async function openThrough (t: Test, browser: Browser, plugin: fastifyWsAuth.WsAuthOptions): Promise<Chat & { proxy: Proxy, page: Page, host: string }> {
  const chat = await startChat(t, plugin)
  const proxy = await startProxy(t, { host: '127.0.0.1', port: chat.port })
  const host = `127.0.0.1:${proxy.port}`
  return { ...chat, proxy, host, page: await openPage(t, browser, `http://${host}/`) }
}

function isEmpty ({ wsAuth }: FastifyInstance): Promise<void> {
  return eventually(() => wsAuth.connections.size === 0, 'the slot is free')
}

t.test('connections of a browser survive or end correctly as its network changes', { skip: reasonToSkip() }, async (t) => {
  await buildExample()
  const browser = await startBrowser(t)
  t.jobs = 3

  // The tabs of one window: one test after the other.
  t.test('connections of a page in the background behave as those of a visible page', { buffered: true }, async (t) => {
    t.test('a connection in the background gets the hint to renew, is renewed, and ends if it is not', async (t) => {
      const { port } = await startChat(t, { renewal: true, expiryGrace: 5000 })
      const { page, visibility } = await openHidden(browser, `http://127.0.0.1:${port}/`)
      const connect = (sub: string, life: number): Promise<PageSocket> =>
        openSocket(page, `ws://127.0.0.1:${port}/chat`, ['bearer', sign({ sub, iat: seconds(), exp: seconds(life) })])
      const [renewing, expiring] = [await connect('ann', 6), await connect('bea', 6)]
      await renewing.renewBy('/token')
      t.same((await expiring.closed()).map(typeOfEvent), ['open', 'message auth.ok', 'message auth.renew', 'close 3000 token_expired clean'])
      t.same((await renewing.events()).map(typeOfEvent), ['open', 'message auth.ok', 'message auth.renew', 'message auth.ok'])
      t.equal(await visibility(), 'hidden')
    })

    t.test('a frozen page keeps its connection, because the browser answers pings, and reconnects when it is thawed', async (t) => {
      const { app, port } = await startChat(t, { heartbeat: { interval: 3000 }, limits: { perUser: 1 } })
      const { page, freeze, thaw } = await openHidden(browser, `http://127.0.0.1:${port}/`)
      const events = await openReturning(page)
      await eventually(() => app.wsAuth.connections.size === 1, 'it is open')
      await freeze()
      let pongs = 0
      for (const client of app.websocketServer.clients) client.on('pong', () => { pongs++ })
      await eventually(() => pongs >= 2, 'two pings have been answered')
      t.same(statsOf(app).closed, {})
      // What it had Chromium does not give back to it.
      await thaw()
      await eventually(async () => (await events()).join() === 'open,close 1006,open', 'it is back')
      t.equal(app.wsAuth.connections.size, 1)
      t.same(statsOf(app).closed, { client: 1 })
    })

    t.test('a frozen page loses its connection when its token expires, and reconnects when it is thawed', async (t) => {
      const { app, port } = await startChat(t, { limits: { perUser: 1 } }, 8)
      const { page, freeze, thaw } = await openHidden(browser, `http://127.0.0.1:${port}/`)
      const events = await openReturning(page)
      await eventually(() => app.wsAuth.connections.size === 1, 'it is open')
      await freeze()
      await isEmpty(app)
      t.same(statsOf(app).closed, { token_expired: 1 })
      t.equal((await events()).filter((event) => event.startsWith('close')).length, 0, 'it has not been told')
      await thaw()
      await eventually(() => statsOf(app).accepted === 2, 'it is back')
      await eventually(async () => (await events()).filter((event) => event === 'open').length >= 2, 'the page knows')
      // Chromium does not keep for it how that ended.
      t.match((await events()).join(), /^open,close (?:1006|3000 token_expired),open/)
    })
  })

  t.test('an open connection survives the offline mode of DevTools, and gets its messages late', { buffered: true }, async (t) => {
    const { app, port, tell } = await startChat(t)
    const page = await openPage(t, browser, `http://127.0.0.1:${port}/`)
    const connect = (claims: Record<string, unknown> = {}): Promise<PageSocket> => openSocket(page, `ws://127.0.0.1:${port}/chat`, ['bearer', sign({ sub: 'ann', ...claims })])
    const [staying, expiring] = [await connect(), await connect({ exp: seconds(8) })]
    await staying.told('open')
    await expiring.told('open')
    await page.context().setOffline(true)
    t.same(await (await connect()).closed(), ['error', 'close 1006 unclean'])
    tell('while offline')
    await eventually(() => app.wsAuth.connections.size === 1, 'one has expired')
    t.same(statsOf(app).closed, { token_expired: 1 })
    await page.context().setOffline(false)
    await staying.told('message while offline')
    t.match((await expiring.closed()).join(), /^open,message while offline,(?:error,)?close (?:3000 token_expired|1006) (?:un)?clean$/)
    t.equal(statsOf(app).accepted, 2)
    t.equal(app.wsAuth.connections.size, 1)
  })

  t.test('a network that is lost silently frees the slot, and the page reconnects when it returns', { buffered: true }, async (t) => {
    const { app, port, proxy, page } = await openThrough(t, browser, { limits: { perUser: 1 }, heartbeat: { interval: 1000 } })
    const events = await openReturning(page)
    await eventually(() => app.wsAuth.connections.size === 1, 'it is open')
    proxy.freeze()
    await isEmpty(app)
    t.same(statsOf(app).closed, { heartbeat: 1 })
    t.same(await events(), ['open'], 'nobody has told the page')

    const elsewhere = await openPage(t, browser, `http://127.0.0.1:${port}/`)
    const other = await openSocket(elsewhere, `ws://127.0.0.1:${port}/chat`)
    await other.told('open')
    await other.close(1000, '')
    await other.closed()
    proxy.restore()
    await eventually(() => app.wsAuth.connections.size === 1, 'it is open again')
    await eventually(async () => (await events()).length >= 3, 'the page knows')
    t.same(await events(), ['open', 'close 1006', 'open'])
  })

  t.test('a client that reconnects before the server notices the loss replaces its lost connection', { buffered: true }, async (t) => {
    const { app, port, proxy, page, host } = await openThrough(t, browser, { limits: { perUser: 1, onLimit: 'close-oldest' } })
    const lost = await openSocket(page, `ws://${host}/chat`)
    await lost.told('open')
    proxy.freeze()
    // By another network.
    const elsewhere = await openPage(t, browser, `http://127.0.0.1:${port}/`)
    const socket = await openSocket(elsewhere, `ws://127.0.0.1:${port}/chat`)
    await socket.told('open')
    t.equal(app.wsAuth.connections.size, 1)
    t.same(statsOf(app).closed, { connection_replaced: 1 })
    proxy.restore()
    t.match((await lost.closed()).join(), /^open,close 3003 connection_replaced (?:un)?clean$/)
    t.same(await socket.events(), ['open'])
  })

  t.test('a client that reconnects with onLimit \'reject\' waits until the server notices the loss', { buffered: true }, async (t) => {
    const { app, port, proxy, page, host } = await openThrough(t, browser, { limits: { perUser: 1 }, heartbeat: { interval: 1000 } })
    const lost = await openSocket(page, `ws://${host}/chat`)
    await lost.told('open')
    const elsewhere = await openPage(t, browser, `http://127.0.0.1:${port}/`)
    t.same(await (await openSocket(elsewhere, `ws://127.0.0.1:${port}/chat`)).closed(), ['open', 'close 4429 connection_limit clean'])
    proxy.freeze()
    const events = await openReturning(elsewhere)
    await eventually(async () => (await events()).at(-1) === 'open' && app.wsAuth.connections.size === 1 && statsOf(app).accepted === 2, 'it is in')
    t.same(statsOf(app).closed, { heartbeat: 1 })
    t.same(new Set(await events()), new Set(['open', 'close 4429 connection_limit']))
  })

  t.test('a connection that is cut closes with 1006, and the page opens another with a new ticket, because the old one is spent', { buffered: true }, async (t) => {
    const { app, proxy, page, host } = await openThrough(t, browser, { limits: { perUser: 2 } })
    const events = await openReturning(page)
    const ticket = await page.evaluate(async () => (await (await fetch('/ws-ticket', { method: 'POST' })).json() as { ticket: string }).ticket)
    const url = `ws://${host}/chat?ticket=${ticket}`
    const naive = await openSocket(page, url)
    await naive.told('open')
    await eventually(() => app.wsAuth.connections.size === 2, 'both are open')

    proxy.cut()
    await isEmpty(app)
    t.match((await naive.closed()).join(), /^open,(?:error,)?close 1006 unclean$/)
    t.same(await (await openSocket(page, url)).closed(), ['error', 'close 1006 unclean'])
    proxy.restore()
    t.same(await (await openSocket(page, url)).closed(), ['open', 'close 3000 ticket_invalid clean'])
    await eventually(() => app.wsAuth.connections.size === 1, 'the other is back')
    // The page may not be there yet for a script of ours, though its socket is.
    await eventually(async () => (await events().catch(() => [])).length === 3, 'the page knows')
    t.same(await events(), ['open', 'close 1006', 'open'])
    t.same(statsOf(app).closed, { lost: 2 })
  })

  t.test('a page that goes away frees its slot, however it goes', { buffered: true }, async (t) => {
    const { app, port } = await startChat(t, { limits: { perUser: 1 } })
    const page = await openPage(t, browser, `http://127.0.0.1:${port}/`)
    const connect = async (page: Page): Promise<() => Promise<string[]>> => {
      const events = await openReturning(page)
      await eventually(() => app.wsAuth.connections.size === 1, 'it is open')
      return events
    }
    await connect(page)
    await page.reload()
    await isEmpty(app)

    // Kept in the back/forward cache, where Chromium would keep the connection too, and answer its pings.
    const events = await connect(page)
    await page.goto(`http://localhost:${port}/`)
    await isEmpty(app)
    await page.evaluate('history.back()').catch(() => {})
    await eventually(() => app.wsAuth.connections.size === 1, 'it is open again')
    // The page may not be there yet for a script of ours, though its socket is.
    await eventually(async () => (await events().catch(() => [])).length === 3, 'the page knows')
    t.same(await events(), ['open', 'back', 'open'])

    await page.close()
    await isEmpty(app)
    t.same(statsOf(app).closed, { client: 3 })

    const crashing = await openPage(t, browser, `http://127.0.0.1:${port}/`)
    await connect(crashing)
    await crashing.goto('chrome://crash').catch(() => {})
    await isEmpty(app)
  })

  t.test('a revocation closes two tabs of one user at once, and neither can reconnect', { buffered: true }, async (t) => {
    const { app, port } = await startChat(t)
    const page = await openPage(t, browser, `http://127.0.0.1:${port}/`)
    const second = await page.context().newPage()
    await second.goto(`http://127.0.0.1:${port}/`)
    const connect = (page: Page): Promise<PageSocket> => openSocket(page, `ws://127.0.0.1:${port}/chat`)
    const sockets = [await connect(page), await connect(second)]
    for (const socket of sockets) await socket.told('open')
    const { closed } = await app.wsAuth.revoke({ sub: 'ann' })
    t.equal(closed, 2)
    for (const socket of sockets) t.same(await socket.closed(), ['open', 'close 3000 token_revoked clean'])
    for (const tab of [page, second]) t.same(await (await connect(tab)).closed(), ['open', 'close 3000 token_revoked clean'])
  })

  t.test('the page of the example says that it is offline, and has its connections when it is online again', { buffered: true }, async (t) => {
    const example = await startExample(t)
    const proxy = await startProxy(t, { host: '127.0.0.1', port: example.port })
    const page = await openPage(t, browser, `http://127.0.0.1:${proxy.port}/`)
    await page.getByLabel('Name').fill('ann')
    await page.getByLabel('Password').fill('tea-for-two')
    await page.click('#login-form button')
    await page.locator('[data-way=ticket] .badge[data-state=open]').waitFor()
    const ids = async (): Promise<string[]> => await page.locator('#connections .mono').allTextContents()
    await eventually(async () => (await ids()).length === 5, 'all are there')
    const before = await ids()

    // Nothing ends, and nothing arrives.
    await page.context().setOffline(true)
    proxy.freeze()
    await page.locator('#offline', { hasText: 'This device has no network' }).waitFor()
    t.equal(await page.locator('#status').getAttribute('data-state'), 'open', 'nobody has told it')
    proxy.restore()
    await page.context().setOffline(false)
    await page.locator('#offline').waitFor({ state: 'hidden' })
    // The client keeps connections that are still alive.
    await eventually(async () => (await ids()).length === 5, 'all are there again')
    t.equal(before.length, 5)
    await page.locator('#status[data-state=open]').waitFor()
    await page.getByLabel('Message', { exact: true }).fill('back again')
    await page.click('#composer button')
    await page.locator('#messages .text', { hasText: 'back again' }).waitFor()

    // Connections that are cut are opened anew without a word of DevTools.
    proxy.cut()
    await page.locator('#status[data-state=waiting]').waitFor()
    proxy.restore()
    await page.locator('#status[data-state=open]').waitFor()
  })

  t.test('the page of the example closes its connections when it is left, and opens them when it is shown again', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const page = await openPage(t, browser, url)
    await page.getByLabel('Name').fill('bea')
    await page.getByLabel('Password').fill('keys-to-all')
    await page.click('#login-form button')
    await page.locator('[data-way=ticket] .badge[data-state=open]').waitFor()
    const count = async (): Promise<number> => (await (await page.request.get(`${url}/connections`)).json() as { connections: unknown[] }).connections.length
    await eventually(async () => await count() === 6, 'all are open')
    await page.goto('about:blank')
    await eventually(async () => await count() === 0, 'all are closed')
    await page.evaluate('history.back()').catch(() => {})
    await page.locator('[data-way=ticket] .badge[data-state=open]').waitFor()
    await eventually(async () => await count() === 6, 'all are open again')
  })
})
