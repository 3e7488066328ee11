/* Runtimes that are not Node.js: one small server of this package, run by Deno and by Bun as they come from npm. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type { ClientOptions } from 'ws'
import { SECRET, sign, within } from '../helpers/app'
import { buildPackage, tie } from '../helpers/example'

const SERVER = join(process.cwd(), 'test/package/runtimes/server.mjs')
const TIMEOUT = 60_000
const DENO = process.env.DENO_PATH || 'deno'
const BUN = process.env.BUN_PATH || 'bun'
/** All that an app with this package needs of Deno. It has no file of locks here. */
const DENO_COMMAND = [DENO, 'run', '--no-lock', '--no-prompt', '--allow-net', '--allow-read', '--allow-env', '--allow-sys', SERVER] as const
const MEMBER = { sub: 'ann', roles: ['member'] }

/** Why a runtime is not tested here, or `false`. In CI nothing is skipped: it fails. */
function reasonToSkip (name: string, program: string): string | false {
  if (process.env.CI === 'true' || spawnSync(program, ['--version']).status === 0) return false
  const reason = `NOT TESTED with ${name}: there is no ${program}. Install it (npm has it) or set ${name.toUpperCase()}_PATH`
  console.error(reason)
  return reason
}

interface Running {
  readonly url: string
  /** Sends SIGTERM. @returns the exit code */
  stop: () => Promise<number | null>
}

/** Starts the server, and reads its first line. It ends with the test at the latest. */
async function startOn (t: Test, [program, ...args]: readonly [string, ...string[]]): Promise<Running> {
  const folder = mkdtempSync(join(tmpdir(), 'fastify-ws-auth-runtime-'))
  const env = { ...process.env, JWT_SECRET: SECRET, DENO_DIR: folder, DENO_NO_UPDATE_CHECK: '1', NODE_OPTIONS: '' }
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'inherit'] })
  tie(child, child.pid)
  const exit = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exit
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  })
  const [line] = await within(TIMEOUT, 'the first line', Promise.race([once(child.stdout.setEncoding('utf8'), 'data'), exit]))
  const port = /^listening on (\d+)\n$/.exec(String(line))?.[1]
  if (port === undefined) throw new Error(`the server did not start: ${line}`)
  return {
    url: `127.0.0.1:${port}/chat`,
    stop: async () => {
      child.kill('SIGTERM')
      const [code] = await within(TIMEOUT, 'the exit', exit)
      return code
    }
  }
}

/** What a client sees: its subprotocol, its messages and its end, in order. A client that gets a greeting says `hi`. */
async function connect (url: string, protocols: string[], options: ClientOptions = {}, first?: string): Promise<unknown[]> {
  const events: unknown[] = []
  const client = new WebSocket(`ws://${url}`, protocols, options)
  client.on('open', () => { if (first !== undefined) client.send(first) })
  client.on('message', (data) => {
    events.push(String(data))
    if (String(data).startsWith('hello')) client.send('hi')
  })
  client.on('error', ({ message }) => events.push(message))
  return await within(TIMEOUT, 'the end of the connection', new Promise((resolve) => {
    client.on('close', (code, reason) => resolve([client.protocol, ...events, code, String(reason)]))
  }))
}

const soon = (): string => sign({ ...MEMBER, exp: Math.floor(Date.now() / 1000) + 10 })
const bearer = (token: string): ClientOptions => ({ headers: { authorization: `Bearer ${token}` } })
const frame = (token: string): string => JSON.stringify({ type: 'auth', token })

t.before(buildPackage)

t.test('a server on Deno lets users in, refuses others, and ends connections as on Node.js', { skip: reasonToSkip('Deno', DENO) }, async (t) => {
  const { url, stop } = await startOn(t, DENO_COMMAND)
  const expired = ['hello ann on Deno', 'got hi', 3000, 'token_expired']
  const [byHeader, bySubprotocol, byMessage, ...refused] = await Promise.all([
    connect(url, [], bearer(soon())),
    connect(url, ['bearer', soon()]),
    connect(url, [], {}, frame(soon())),
    connect(url, [], bearer('bad')),
    connect(url, [], bearer(sign({ sub: 'eve' }))),
    connect(url, [], {}, 'hello'),
    connect(url, [], {}, frame('x'.repeat(2000)))
  ])
  t.strictSame(byHeader, ['', ...expired])
  t.strictSame(bySubprotocol, ['bearer', ...expired])
  t.match(byMessage, ['', /^{"type":"auth.ok","connection":"[\w-]{22}","expiresAt":\d+,"expiresIn":\d+,"endsIn":\d+}$/, 'hello ann on Deno', 'got hi'])
  t.strictSame(byMessage.slice(-2), [3000, 'token_expired'])
  t.strictSame(refused, [
    ['', 'Unexpected server response: 401', 1006, ''],
    ['', 'Unexpected server response: 403', 1006, ''],
    ['', 3000, 'token_invalid'],
    ['', 1009, '']
  ])

  const dryRun = await fetch(`http://${url}`, { headers: { authorization: 'Bearer bad' } })
  t.equal(dryRun.status, 401)
  t.equal((await dryRun.json() as { code: string }).code, 'WS_AUTH_TOKEN_INVALID')

  const client = new WebSocket(`ws://${url}`, bearer(sign(MEMBER)))
  await within(TIMEOUT, 'the greeting', once(client, 'message'))
  const closed = once(client, 'close')
  t.equal(await stop(), 0)
  const [code, reason] = await within(TIMEOUT, 'the end of the connection', closed)
  t.strictSame([code, String(reason)], [1001, 'shutdown'])
})

t.test('registration on Bun fails, and says why', { skip: reasonToSkip('Bun', BUN) }, async (t) => {
  const child = spawn(BUN, [SERVER], { env: { ...process.env, JWT_SECRET: SECRET, NODE_OPTIONS: '' }, stdio: ['ignore', 'pipe', 'inherit'], timeout: TIMEOUT })
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')])
  t.match(output, /^Error: fastify-ws-auth does not run on Bun, .*"ws".*Run the app by Node\.js or Deno\n$/)
  t.equal(code, 1)
})
