/*
 * Each refusal of a real server, as a page sees it: by a dry run where the handshake is refused with a status, and by the close frame with
 * `rejectWith: 'auto'`. The rows are those of test/client/table.ts; a page has no headers of its own.
 */
import { build } from 'esbuild'
import Fastify from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import fastifyWsAuth from '../../lib/index'
import { wsAuthErrors } from '../../lib/base/errors'
import { declareRoutes, rowsOf } from '../client/table'
import type { Row } from '../client/table'
import type { Result } from '../client/table-client'
import { SECRET, sign } from '../helpers/app'
import { ENGINES, WEBKIT } from '../helpers/engines'
import type { AddressInfo } from 'node:net'

const PAGE = '<!doctype html><title>refusals</title><script type="module" src="/table.js"></script>'
/** Runs so many rows at once, and each after its cookie is set. The page has the cookies of all rows: each has the path of its own. */
const SCRIPT = `
  import { Trial } from './test/client/table-client'
  globalThis.runAll = async (cells) => {
    const results = []
    const waiting = cells.entries()
    await Promise.all(Array.from({ length: 10 }, async () => {
      for (const [index, cell] of waiting) {
        if (cell.headers.cookie !== undefined) document.cookie = cell.headers.cookie + '; path=' + new URL(cell.url).pathname
        results[index] = await new Trial(cell, 'page').run()
      }
    }))
    return results
  }
`

/** Bundles the client of the table for a page, without what only Node.js has. */
async function bundle (): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents: SCRIPT, resolveDir: process.cwd() },
    bundle: true,
    format: 'esm',
    write: false,
    plugins: [{
      name: 'no-node',
      setup ({ onResolve, onLoad }) {
        onResolve({ filter: /^(?:node:.*|ws)$/ }, ({ path }) => ({ path, namespace: 'none' }))
        onLoad({ filter: /.*/, namespace: 'none' }, () => ({ contents: 'module.exports = {}' }))
      }
    }]
  })
  return outputFiles.map(({ text }) => text).join('')
}

async function startServer (t: Test): Promise<string> {
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  const script = await bundle()
  app.get('/', async (_request, reply) => await reply.type('text/html').send(PAGE))
  app.get('/table.js', async (_request, reply) => await reply.type('text/javascript').send(script))
  app.get('/outside', async () => 'a route that the plugin does not cover')
  await app.register(async (scope) => {
    await scope.register(fastifyWsAuth, { jwt: { secret: SECRET }, token: { query: true, cookie: true }, tickets: true, limits: { perUser: 1 } })
    declareRoutes(scope)
    scope.addHook('onReady', async () => { await scope.wsAuth.revoke({ sid: 'revoked' }) })
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const host = `127.0.0.1:${(app.server.address() as AddressInfo).port}`
  const full = new WebSocket(`ws://${host}/good`, { headers: { authorization: `Bearer ${sign({ sub: 'full' })}` } })
  await new Promise((resolve, reject) => full.on('open', resolve).on('error', reject))
  return host
}

/** What must come of a row in a page. */
function wantedOf ({ name, expected }: Row): object {
  const { word, code, status, does, tokenCalls, sockets, posts, dryRuns } = expected
  const state = does === 'ask' || does === 'refuse' ? 'refused' : 'waiting'
  // A browser sends no Origin with a GET to the page's own server, so that its dry run is accepted.
  if (name.startsWith('WS_AUTH_ORIGIN_FORBIDDEN http') && dryRuns > 0) return { state: 'waiting', code: 1006, word: '', status: 426, tokenCalls, sockets, posts, dryRuns }
  return { state, code, word, status, tokenCalls, sockets, posts, dryRuns }
}

function seenOf ({ state, end, tokenCalls, sockets, posts, dryRuns }: Result): object {
  return { state, code: end?.code, word: end?.reason, status: end?.status, tokenCalls, sockets, posts, dryRuns }
}

t.test('a page is told of each refusal, and stops or comes back as the table of words says', async (t) => {
  t.jobs = 3
  for (const { name, skip, start } of [...ENGINES, WEBKIT]) {
    t.test(`in ${name}`, { skip, buffered: true }, async (t) => {
      const host = await startServer(t)
      const engine = await start(t)
      const tab = await engine.open(t, `http://${host}/`)
      const rows = rowsOf(`ws://${host}`).filter(({ name }) => !/ header,| close /.test(name) && name.endsWith(', connect'))
      const results = await tab.run<Result[]>(`runAll(${JSON.stringify(rows.map(({ cell }) => cell))})`)
      for (const code of Object.keys(wsAuthErrors)) {
        const own = [...rows.entries()].filter(([, { name }]) => name.startsWith(`${code} `))
        const seen = Object.fromEntries(own.map(([index, { name }]) => [name, seenOf(results[index] as Result)]))
        t.strictSame(seen, Object.fromEntries(own.map(([, row]) => [row.name, wantedOf(row)])), code)
      }
    })
  }
})
