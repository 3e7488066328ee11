/*
 * A cookie that authenticates, in a real browser: when it is sent is the browser's, from whom it is taken is ours. The browser
 * resolves all names below localhost to the loopback interface, and each is a site.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { BrowserContext, Frame, Page } from 'playwright-core'
import { sign, start } from '../helpers/app'
import { addPage, openSocket, reasonToSkip, startBrowser } from '../helpers/browser'
import { statsOf } from '../helpers/stats'

const ATTRIBUTES = {
  lax: 'SameSite=Lax',
  strict: 'SameSite=Strict',
  none: 'SameSite=None; Secure',
  unset: ''
}
const COOKIES = Object.keys(ATTRIBUTES) as Array<keyof typeof ATTRIBUTES>

const OPEN = 'open message ann'
const FORBIDDEN = 'open close 3003 origin_forbidden clean'
const MISSING = 'open close 3000 token_missing clean'

/** What the browser sends, and what becomes of it, by the kind of cookie. */
type Answers = Record<keyof typeof ATTRIBUTES, string>

const answers = (lax: string, strict: string, none: string, unset: string): Answers => ({ lax, strict, none, unset })

interface Chat {
  readonly app: FastifyInstance
  readonly host: string
  /** Of each handshake the Origin, and the names of the cookies. */
  readonly handshakes: Array<{ origin: string | undefined, cookies: string }>
  /** Of each plain request the method, the path and the status. */
  readonly responses: string[]
}

/** What a page asks for with `fetch`. */
interface Asked {
  method?: 'POST'
  mode?: 'no-cors'
  credentials?: 'include'
  headers?: { authorization: string }
  body?: string
}

/** A chat with four cookies, each on a route of its own, and once more where nobody asks for the Origin. */
async function startChat (t: Test): Promise<Chat> {
  const responses: string[] = []
  const { app, port } = await start(t, {
    server: { forceCloseConnections: true },
    plugin: { rejectWith: 'close', token: { cookie: 'none' }, tickets: true },
    before: (app) => {
      app.addHook('onResponse', async ({ method, url }, { statusCode }) => { responses.push(`${method} ${url} ${statusCode}`) })
    },
    routes: (app) => {
      addPage(app)
      app.get('/login', async (_request, reply) => {
        for (const name of COOKIES) reply.header('set-cookie', `${name}=${sign({ sub: 'ann' })}; Path=/; HttpOnly; ${ATTRIBUTES[name]}`)
        return reply.type('text/html').send('<!doctype html><title>page</title>')
      })
      const greet = (socket: { send: (text: string) => void }, { user }: { user: unknown }): void => {
        socket.send((user as { sub: string } | null)?.sub ?? 'nobody')
      }
      for (const cookie of COOKIES) {
        app.get(`/${cookie}`, { websocket: true, wsAuth: { token: { cookie } } }, greet)
        app.get(`/any/${cookie}`, { websocket: true, wsAuth: { token: { cookie }, origin: 'any' } }, greet)
      }
      app.get('/optional', { websocket: true, wsAuth: 'optional' }, greet)
      app.get('/first-message', { websocket: true, wsAuth: { token: { cookie: false, message: true } } }, greet)
    }
  })
  const handshakes: Chat['handshakes'] = []
  app.server.prependListener('upgrade', ({ headers: { origin, cookie = '' } }) => {
    handshakes.push({ origin, cookies: [...cookie.matchAll(/(\w+)=/g)].map(([, name]) => name).sort().join() })
  })
  return { app, host: `chat.localhost:${port}`, handshakes, responses }
}

/** A server of somebody else, with an empty page. */
async function startOther (t: Test): Promise<number> {
  const app = Fastify()
  t.teardown(() => app.close())
  addPage(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as AddressInfo).port
}

/** What a page is told of a handshake: that it was open and what came first, or how it was closed. */
async function handshakeOf (page: Page | Frame, url: string, protocols: string[] = []): Promise<string> {
  const socket = await openSocket(page, url, protocols)
  while ((await socket.settled()).length < 2) await socket.told('open')
  return (await socket.events()).slice(0, 2).join(' ')
}

async function handshakesOf (page: Page | Frame, url: string): Promise<Answers> {
  const [lax, strict, none, unset] = await Promise.all(COOKIES.map((cookie) => handshakeOf(page, `${url}/${cookie}`))) as [string, string, string, string]
  return answers(lax, strict, none, unset)
}

/** A frame of a page: of an address, or of a text, which is sandboxed. */
async function openFrame (page: Page, source: { src: string } | { srcdoc: string, sandbox: string }): Promise<Frame> {
  const element = await page.evaluateHandle(async (source) => {
    // Nothing here knows of documents.
    const { document } = globalThis as unknown as { document: { createElement: (tag: string) => object & { onload: () => void }, body: { append: (element: object) => void } } }
    const element = Object.assign(document.createElement('iframe'), source)
    await new Promise<void>((resolve) => { element.onload = resolve; document.body.append(element) })
    return element
  }, source)
  return await element.asElement()?.contentFrame() as Frame
}

t.test('the Origin decides whether a cookie in a browser opens a connection', { skip: reasonToSkip() }, async (t) => {
  const browser = await startBrowser(t)
  t.jobs = 3

  /** The browser of ann, who has logged in. */
  async function logIn (t: Test, host: string): Promise<{ context: BrowserContext, page: Page }> {
    const context = await browser.newContext()
    t.teardown(() => context.close())
    const page = await context.newPage()
    await page.goto(`http://${host}/login`)
    return { context, page }
  }

  t.test('the page of the app connects with each cookie, and cannot read it', { buffered: true }, async (t) => {
    const { host, handshakes } = await startChat(t)
    const { page } = await logIn(t, host)
    t.same(await handshakesOf(page, `ws://${host}`), answers(OPEN, OPEN, OPEN, OPEN))
    t.equal(await page.evaluate('document.cookie'), '')
    t.same(handshakes, COOKIES.map(() => ({ origin: `http://${host}`, cookies: 'lax,none,strict,unset' })))
  })

  t.test('a page of the same site sends each cookie, and is refused', { buffered: true }, async (t) => {
    const { host, handshakes } = await startChat(t)
    const { page } = await logIn(t, host)
    const port = await startOther(t)
    for (const origin of [`http://chat.localhost:${port}`, `http://blog.chat.localhost:${port}`]) {
      handshakes.length = 0
      await page.goto(origin)
      t.same(await handshakesOf(page, `ws://${host}`), answers(FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN), origin)
      t.equal(await handshakeOf(page, `ws://${host}/optional`), FORBIDDEN)
      t.equal(await handshakeOf(page, `ws://${host}/first-message`), FORBIDDEN)
      t.same(await handshakesOf(page, `ws://${host}/any`), answers(OPEN, OPEN, OPEN, OPEN), 'hijacked, where nobody asks for the Origin')
      t.same(handshakes, Array.from({ length: 10 }, () => ({ origin, cookies: 'lax,none,strict,unset' })))
    }
  })

  t.test('a page of another site sends only cookies with SameSite=None, and is refused', { buffered: true }, async (t) => {
    const { host, handshakes } = await startChat(t)
    const { page } = await logIn(t, host)
    const port = await startOther(t)
    const ownPort = new URL(`http://${host}`).port
    for (const origin of [`http://evil.localhost:${port}`, `http://localhost:${port}`, `http://127.0.0.1:${port}`, `http://127.0.0.1:${ownPort}`]) {
      handshakes.length = 0
      await page.goto(origin)
      t.same(await handshakesOf(page, `ws://${host}`), answers(MISSING, MISSING, FORBIDDEN, MISSING), origin)
      t.equal(await handshakeOf(page, `ws://${host}/optional`), FORBIDDEN)
      t.equal(await handshakeOf(page, `ws://${host}/first-message`), FORBIDDEN)
      t.same(await handshakesOf(page, `ws://${host}/any`), answers(MISSING, MISSING, OPEN, MISSING), 'hijacked, where nobody asks for the Origin')
      t.same(handshakes, Array.from({ length: 10 }, () => ({ origin, cookies: 'none' })))
    }
  })

  t.test('a page without an origin is refused', { buffered: true }, async (t) => {
    const { host, handshakes } = await startChat(t)
    const { page } = await logIn(t, host)
    const folder = await mkdtemp(join(tmpdir(), 'page-'))
    t.teardown(() => rm(folder, { recursive: true }))
    await writeFile(join(folder, 'page.html'), '<!doctype html><title>page</title>')
    const port = await startOther(t)

    const sandboxed = { srcdoc: '<title>frame</title>', sandbox: 'allow-scripts' }
    const places = {
      'a sandbox in its own page': async () => { await page.goto(`http://${host}`); return await openFrame(page, sandboxed) },
      'a sandbox elsewhere': async () => { await page.goto(`http://evil.localhost:${port}`); return await openFrame(page, sandboxed) },
      'a page of data': async () => { await page.goto(`http://evil.localhost:${port}`); return await openFrame(page, { src: 'data:text/html,<title>frame</title>' }) },
      'a file': async () => { await page.goto(pathToFileURL(join(folder, 'page.html')).href); return page }
    }
    for (const [name, open] of Object.entries(places)) {
      handshakes.length = 0
      const place = await open()
      t.same(await handshakesOf(place, `ws://${host}`), answers(MISSING, MISSING, FORBIDDEN, MISSING), name)
      t.equal(await handshakeOf(place, `ws://${host}/first-message`), FORBIDDEN)
      t.same(await handshakesOf(place, `ws://${host}/any`), answers(MISSING, MISSING, OPEN, MISSING), 'hijacked, where nobody asks for the Origin')
      t.same(handshakes, Array.from({ length: 9 }, () => ({ origin: 'null', cookies: 'none' })))
    }
  })

  t.test('the page of the app in a frame of another site connects by SameSite=None: the app decides which sites may frame it', { buffered: true }, async (t) => {
    const { host } = await startChat(t)
    const { page } = await logIn(t, host)
    await page.goto(`http://evil.localhost:${await startOther(t)}`)
    const frame = await openFrame(page, { src: `http://${host}/` })
    t.same(await handshakesOf(frame, `ws://${host}`), answers(MISSING, MISSING, OPEN, MISSING))
  })

  t.test('a page of another site connects with its own token as its own user', { buffered: true }, async (t) => {
    const { host } = await startChat(t)
    const { page } = await logIn(t, host)
    await page.goto(`http://evil.localhost:${await startOther(t)}`)
    t.equal(await handshakeOf(page, `ws://${host}/none`, ['bearer', sign({ sub: 'mallory' })]), 'open message mallory')
    t.equal(await handshakeOf(page, `ws://${host}/none`, ['bearer', 'bad']), 'open close 3000 token_invalid clean', 'and not by the cookie beside a bad one')
  })

  t.test('a cookie that a sibling host adds under the same name makes the token ambiguous', { buffered: true }, async (t) => {
    const { host } = await startChat(t)
    const { page } = await logIn(t, host)
    await page.goto(`http://blog.chat.localhost:${await startOther(t)}`)
    await page.evaluate(`document.cookie = 'lax=${sign({ sub: 'mallory' })}; Domain=chat.localhost; Path=/'`)
    await page.goto(`http://${host}`)
    t.equal(await handshakeOf(page, `ws://${host}/lax`), 'open close 3000 token_ambiguous clean')
    t.equal(await handshakeOf(page, `ws://${host}/strict`), OPEN, 'the others stay good')
  })

  t.test('a page of another origin cannot read a dry run, and gets no ticket', { buffered: true }, async (t) => {
    const { app, host, responses } = await startChat(t)
    const { page } = await logIn(t, host)
    const port = await startOther(t)
    for (const origin of [`http://chat.localhost:${port}`, `http://evil.localhost:${port}`]) {
      await page.goto(origin)
      responses.length = 0
      const ask = (path: string, init: Asked): Promise<string> => page.evaluate(async ([url, init]) => {
        return await fetch(url, init).then(({ type, status }) => `${type} ${status}`, (error: Error) => String(error))
      }, [`http://${host}${path}`, init] as const)
      const BLOCKED = 'TypeError: Failed to fetch'
      t.equal(await ask('/none', { credentials: 'include' }), BLOCKED)
      t.equal(await ask('/none', { credentials: 'include', mode: 'no-cors' }), 'opaque 0')
      t.equal(await ask('/none', { headers: { authorization: `Bearer ${sign()}` } }), BLOCKED)
      t.equal(await ask('/ws-ticket', { method: 'POST', credentials: 'include' }), BLOCKED)
      t.equal(await ask('/ws-ticket', { method: 'POST', credentials: 'include', mode: 'no-cors', body: '{}' }), 'opaque 0')
      t.equal(await ask('/ws-ticket', { method: 'POST', headers: { authorization: `Bearer ${sign()}` } }), BLOCKED)
      // Where the page may not read the answer anyway, the browser names no origin. The requests with a header were not made: it
      // asked whether it may.
      t.same(responses, [
        'GET /none 403', 'GET /none 426', 'OPTIONS /none 404',
        'POST /ws-ticket 403', 'POST /ws-ticket 403', 'OPTIONS /ws-ticket 404'
      ], origin)
    }
    await page.goto(`http://${host}`)
    const status = (): Promise<number> => page.evaluate(async () => (await fetch('/ws-ticket', { method: 'POST' })).status)
    t.equal(await status(), 200, 'its own page does')
    t.same(statsOf(app).refused, { WS_AUTH_ORIGIN_FORBIDDEN: 4 }, 'dry runs are not counted')
  })
})
