/*
 * The device in Python, example/recipes/device.py, against real servers: it renews, gets another token, comes back after a restart, and
 * stops when it is refused.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import type { RouteWsAuth, WsAuthOptions } from '../../lib/index'
import { moveClock, restartable, restoreClock } from '../../lib/testing/index'
import { SECRET, sign, until } from '../helpers/app'
import { statsOf } from '../helpers/stats'

const PYTHON = process.env.PYTHON_PATH || '/usr/bin/python3'
const FILE = 'example/recipes/device.py'
const KEY = 'key of the device'
/** How long a token lives, in seconds. */
const LIFE = 600

function reasonToSkip (): string | false {
  if (process.env.CI === 'true' || spawnSync(PYTHON, ['-c', 'import websockets']).status === 0) return false
  console.error('NOT TESTED: the device in Python needs python3-websockets')
  return 'NOT TESTED: install python3-websockets'
}

interface Settings {
  readonly plugin?: WsAuthOptions
  readonly wsAuth?: RouteWsAuth
  /** The claims of the next token. */
  readonly claims?: () => Record<string, unknown>
}

interface Device {
  readonly server: Awaited<ReturnType<typeof restartable<FastifyInstance>>>
  /** What it has printed. */
  readonly lines: string[]
  /** How many tokens it has got. */
  readonly tokens: () => number
  /** How it ended: its code, and its last words. */
  readonly ended: Promise<string>
}

async function startDevice (t: Test, { plugin = {}, wsAuth = true, claims = () => ({}) }: Settings, key = KEY): Promise<Device> {
  let tokens = 0
  const server = await restartable(async () => {
    const app = Fastify()
    await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, ...plugin })
    app.post('/token', async (request, reply) => {
      if (request.headers.authorization !== `Bearer ${KEY}`) return reply.code(401).send({ error: 'no such key' })
      tokens++
      const iat = Math.floor(Date.now() / 1000)
      return { token: sign({ sub: 'device 1', iat, exp: iat + LIFE, ...claims() }) }
    })
    app.get('/feed', { websocket: true, wsAuth }, (socket) => { socket.send('hello') })
    return app
  })
  t.teardown(() => server.close())
  const child = spawn(PYTHON, [FILE], {
    env: { ...process.env, WS_URL: `${server.url}/feed`, TOKEN_URL: `${server.url.replace('ws', 'http')}/token`, DEVICE_KEY: key }
  })
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  const lines: string[] = []
  createInterface(child.stdout).on('line', (line) => lines.push(line))
  child.stderr.setEncoding('utf8').on('data', (text: string) => { said += text })
  return { server, lines, tokens: () => tokens, ended: once(child, 'close').then(([code]) => `${code} ${said.trim()}`) }
}

t.test('the device in Python has at most 60 lines', async (t) => {
  t.ok(readFileSync(FILE, 'utf8').trimEnd().split('\n').length <= 60)
})

t.test('the device in Python does what PROTOCOL.md says', { skip: reasonToSkip() }, async (t) => {
  t.teardown(restoreClock)

  await t.test('the device renews when it is told to, on one connection', async (t) => {
    const { server, lines, tokens } = await startDevice(t, {})
    await until(() => lines.length === 2, 'it is open')
    await moveClock(0.96 * LIFE * 1000)
    await until(() => statsOf(server.app).renewed === 1, 'a renewal')
    await until(() => lines.length === 4, 'its answer')
    t.strictSame(lines, ['auth.ok', 'hello', 'auth.renew', 'auth.ok'])
    t.match(statsOf(server.app), { connections: 1, accepted: 1, refused: {} })
    t.equal(tokens(), 2)
  })

  await t.test('the device gets another token when the last one has expired or was revoked', async (t) => {
    let count = 0
    const { server, tokens } = await startDevice(t, { plugin: { renewal: false }, claims: () => ({ jti: String(++count) }) })
    await until(() => statsOf(server.app).accepted === 1, 'a connection')
    await moveClock((LIFE + 1) * 1000)
    await until(() => statsOf(server.app).accepted === 2, 'a second connection')
    await server.app.wsAuth.revoke({ jti: '2' })
    await until(() => statsOf(server.app).accepted === 3, 'a third connection')
    t.match(statsOf(server.app).closed, { token_expired: 1, token_revoked: 1 })
    t.equal(tokens(), 3)
  })

  restoreClock()
  t.jobs = 8

  t.test('the device stops when its key is refused', { buffered: true }, async (t) => {
    const { ended } = await startDevice(t, {}, 'another key')
    t.equal(await ended, '1 the key is refused')
  })

  t.test('the device stops when it is disconnected, and when it may not connect at all', { buffered: true }, async (t) => {
    const device = await startDevice(t, {})
    await until(() => statsOf(device.server.app).connections === 1, 'it is open')
    await device.server.app.wsAuth.disconnect({ sub: 'device 1' })
    t.equal(await device.ended, '1 refused: disconnected')
    t.equal(await (await startDevice(t, { wsAuth: { roles: ['device'] } })).ended, '1 refused: forbidden')
  })

  for (const rejectWith of ['http', 'close'] as const) {
    t.test(`the device stops when a second token in a row is refused, with rejectWith '${rejectWith}'`, { buffered: true }, async (t) => {
      const { server, ended, tokens } = await startDevice(t, { plugin: { rejectWith }, claims: () => ({ exp: 1 }) })
      t.equal(await ended, '1 refused: token_expired')
      t.match(statsOf(server.app), { accepted: 0, refused: { WS_AUTH_TOKEN_EXPIRED: 2 } })
      t.equal(tokens(), 2)
    })
  }

  t.test('the device comes back after a restart, about when the server said, with the same token', { buffered: true }, async (t) => {
    const { server, lines, tokens } = await startDevice(t, {})
    await until(() => statsOf(server.app).connections === 1 && lines.length === 2, 'it is open')
    const begun = Date.now()
    await server.restart()
    await until(() => statsOf(server.app).connections === 1, 'it is back')
    t.ok(Date.now() - begun < 20_000, `after ${Date.now() - begun} ms`)
    t.strictSame(lines.slice(0, 3), ['auth.ok', 'hello', 'auth.retry'])
    t.equal(tokens(), 1)
  })

  t.test('the device comes back after a crash, and waits at least as long as Retry-After says', { buffered: true }, async (t) => {
    // The database is down for the handshake, and for the dry run that asks why the handshake failed.
    let calls = 0
    const { server, tokens } = await startDevice(t, { plugin: { user: () => { if (++calls <= 2) throw new Error('no database'); return { sub: 'x' } } } })
    await until(() => calls === 2, 'an outage')
    const begun = Date.now()
    await until(() => statsOf(server.app).connections === 1, 'it is open')
    t.ok(Date.now() - begun >= 900, `after ${Date.now() - begun} ms`)
    t.equal(tokens(), 1)
    await server.crash()
    await server.start()
    await until(() => statsOf(server.app).connections === 1, 'it is back')
    t.equal(tokens(), 1)
  })
})
