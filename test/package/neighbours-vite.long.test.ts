/*
 * The recipe for Vite on the same server: its own client, in Chromium, and what others find at both websockets.
 */
import { once } from 'node:events'
import { utimes } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { WebSocket } from 'ws'
import { reasonToSkip, startBrowser } from '../helpers/browser'
import { buildPackage, startFile } from '../helpers/example'

const PAGE_MODULE = join(process.cwd(), 'example/recipes/vite-beside/main.js')

t.before(buildPackage)

/** Has Vite see a change of the page's module, which stays as it is. */
async function touch (): Promise<void> {
  await utimes(PAGE_MODULE, new Date(), new Date())
}

/** The status of a handshake from a page of the server, which is refused. */
async function statusOf (address: string, protocols: string[]): Promise<number | undefined> {
  const { origin } = new URL(address.replace('ws', 'http'))
  const [, response] = await once(new WebSocket(address, protocols, { origin }), 'unexpected-response')
  return response.statusCode
}

t.test('Vite: its websocket reports a change, and the guarded one requires a token', async (t) => {
  const { url, output, stop } = await startFile(t, 'recipes/vite-beside.js')
  const server = url.replace('http', 'ws')
  t.match(await (await fetch(`${url}/main.js`)).text(), 'import.meta.hot')
  const [, token] = /wsToken = "([^"]+)"/.exec(await (await fetch(`${url}/@vite/client`)).text()) ?? []
  const hmr = new WebSocket(`${server}/@hmr?token=${token}`, 'vite-hmr', { origin: url })
  const [first] = await once(hmr, 'message')
  t.strictSame(JSON.parse(String(first)), { type: 'connected' })
  const updated = once(hmr, 'message')
  await touch()
  const [update] = await updated
  t.match(JSON.parse(String(update)), { type: 'update', updates: [{ path: '/main.js' }] })

  t.equal(await statusOf(`${server}/chat`, []), 401)
  t.equal(await statusOf(`${server}/chat`, ['vite-hmr']), 401, 'the subprotocol of Vite opens nothing')
  t.equal(await statusOf(`${server}/@hmr?token=${token}x`, ['vite-hmr']), 400, 'Vite answers for itself')
  t.notMatch(output(), /another library listens/)
  const closed = once(hmr, 'close')
  await stop()
  await closed
})

t.test('Vite: a page in a browser has both, and its module is replaced while its websocket is guarded', { skip: reasonToSkip() }, async (t) => {
  const { url, output } = await startFile(t, 'recipes/vite-beside.js')
  const page = await (await startBrowser(t)).newPage()
  await page.goto(url)
  const greeting = page.locator('#greeting', { hasText: 'The server says: hello ann' })
  await greeting.waitFor()
  await page.evaluate(() => {
    Object.assign(globalThis, { isSamePage: true })
    ;(globalThis as unknown as { document: { querySelector (name: string): { textContent: string } } }).document.querySelector('#greeting').textContent = ''
  })
  await touch()
  await greeting.waitFor()
  t.equal(await page.evaluate(() => (globalThis as unknown as { isSamePage?: boolean }).isSamePage), true, 'the page was not loaded again')
  t.notMatch(output(), /eyJ/, 'no token is in the log')
})
