/*
 * The recipes for documents that users edit together, each with the real client of its library.
 */
import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type { WebsocketProvider } from 'y-websocket' with { 'resolution-mode': 'import' }
import type { Doc } from 'yjs' with { 'resolution-mode': 'import' }
import { until } from '../helpers/app'
import { buildPackage, startFile } from '../helpers/example'

t.before(buildPackage)

async function tokenOf (url: string, body: object): Promise<string> {
  const response = await fetch(`${url}/token`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  return (await response.json() as { token: string }).token
}

/** Waits until a document has a text. */
async function hasText (document: Doc, expected: string): Promise<void> {
  while (document.getText('text').toString() !== expected) await once(document as never, 'update')
}

interface YClient { document: Doc, provider: WebsocketProvider, closed: Promise<unknown>, synced: Promise<unknown> }

async function openY (t: Test, url: string, token: string, name = 'notes'): Promise<YClient> {
  const { Doc } = await import('yjs')
  const { WebsocketProvider } = await import('y-websocket')
  const document = new Doc()
  const provider = new WebsocketProvider(`${url.replace('http', 'ws')}/documents`, name, document, {
    params: { token }, WebSocketPolyfill: WebSocket as never, disableBc: true
  })
  t.teardown(() => { provider.destroy(); document.destroy() })
  const closed = new Promise((resolve) => { provider.on('closed', ({ code, reason }) => resolve(`${code} ${reason}`)) })
  const synced = new Promise<void>((resolve) => { provider.on('sync', (isSynced) => { if (isSynced) resolve() }) })
  return { document, provider, closed, synced }
}

t.test('y-websocket: two users edit one document, and a refusal or an end stops the client', async (t) => {
  const { url, output } = await startFile(t, 'recipes/y-websocket.js')
  const token = await tokenOf(url, { name: 'ann', documents: ['notes'] })
  const ann = await openY(t, url, token)
  const bea = await openY(t, url, await tokenOf(url, { name: 'bea', documents: ['notes'], seconds: 8 }))
  await Promise.all([ann.synced, bea.synced])
  ann.document.getText('text').insert(0, 'hello')
  await hasText(bea.document, 'hello')
  bea.document.getText('text').insert(5, ' ann')
  await hasText(ann.document, 'hello ann')

  const eve = await openY(t, url, await tokenOf(url, { name: 'eve', documents: ['others'] }))
  t.equal(await eve.closed, '4403 forbidden')
  t.equal(await (await openY(t, url, `${token}x`)).closed, '4401 token_invalid')

  t.equal((await fetch(`${url}/logout`, { method: 'POST', headers: { authorization: `Bearer ${token}` } })).status, 200)
  t.equal(await ann.closed, '4401 token_revoked')
  t.equal(await bea.closed, '4401 token_expired')

  bea.provider.params = { token: await tokenOf(url, { name: 'bea', documents: ['notes'] }) }
  ann.document.getText('text').insert(0, 'unseen ')
  bea.document.getText('text').insert(0, 'offline ')
  const again = new Promise<void>((resolve) => { bea.provider.on('sync', (isSynced) => { if (isSynced) resolve() }) })
  bea.provider.connect()
  await again
  const cid = await openY(t, url, await tokenOf(url, { name: 'cid', documents: ['notes'] }))
  await hasText(cid.document, 'offline hello ann')
  t.notMatch(output(), /eyJ/, 'no token is in the log')
})

interface HocuspocusClient { document: Doc, synced: Promise<unknown>, failed: Promise<string>, closed: Promise<string> }

async function openHocuspocus (t: Test, url: string, token: string, name = 'notes'): Promise<HocuspocusClient> {
  const { Doc } = await import('yjs')
  const { HocuspocusProvider, HocuspocusProviderWebsocket } = await import('@hocuspocus/provider')
  const document = new Doc()
  const websocketProvider = new HocuspocusProviderWebsocket({ url: `${url.replace('http', 'ws')}/documents`, WebSocketPolyfill: WebSocket })
  const provider = new HocuspocusProvider({ websocketProvider, name, document, token })
  t.teardown(() => { provider.destroy(); websocketProvider.destroy(); document.destroy() })
  const synced = new Promise<void>((resolve) => { provider.on('synced', () => resolve()) })
  const failed = new Promise<string>((resolve) => { provider.on('authenticationFailed', ({ reason }: { reason: string }) => resolve(reason)) })
  const closed = new Promise<string>((resolve) => { provider.on('close', ({ event }: { event: { code: number, reason: string } }) => resolve(`${event.code} ${event.reason}`)) })
  provider.attach()
  return { document, synced, failed, closed }
}

t.test('Hocuspocus: the token of its own first message authenticates, and hooks have the user in their context', async (t) => {
  const { url, output } = await startFile(t, 'recipes/hocuspocus.js')
  const token = await tokenOf(url, { name: 'ann', documents: ['notes'] })
  const ann = await openHocuspocus(t, url, token)
  const bea = await openHocuspocus(t, url, await tokenOf(url, { name: 'bea', documents: ['notes'], seconds: 8 }))
  await Promise.all([ann.synced, bea.synced])
  ann.document.getText('text').insert(0, 'hello')
  await hasText(bea.document, 'hello')
  // The output of the process may come after the answer to its client.
  await until(() => output().includes('"sub":"ann","documentName":"notes"'), 'the log names the user and the document')

  const eve = await openHocuspocus(t, url, await tokenOf(url, { name: 'eve', documents: ['others'] }))
  t.equal(await eve.failed, 'permission-denied', 'a document that is not of this user')
  t.equal(await (await openHocuspocus(t, url, `${token}x`)).closed, '3000 token_invalid')
  t.equal(await bea.closed, '3000 token_expired')
  t.notMatch(output(), /eyJ/, 'no token is in the log')
})
