/*
 * `node --frozen-intrinsics`: what JavaScript comes with cannot be changed. The package is compiled as it is published, and used by a
 * process of its own that was started so.
 */
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { runNode } from '../helpers/run-alone'

const ROOT = process.cwd()

const folder = mkdtempSync(join(tmpdir(), 'frozen-intrinsics-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

/** Prints a JSON of what it has seen. */
const SCRIPT = `
const { createHmac } = require('node:crypto')
const { once } = require('node:events')
const Fastify = require('fastify')
const { WebSocket } = require('ws')
const wsAuth = require('./lib/index.js')
const { redisBackplane } = require('./lib/backplane/redis/index.js')

const secret = 'thirty-two bytes of test secret!'
function sign (claims) {
  const input = [{ alg: 'HS256', typ: 'JWT' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  return input + '.' + createHmac('sha256', secret).update(input).digest('base64url')
}

async function main () {
  const seen = { isFrozen: Object.isFrozen(Array.prototype), redis: typeof redisBackplane }
  const error = new wsAuth.WsAuthError('WS_AUTH_FORBIDDEN', { cause: 'a test' })
  seen.error = [error.code, error.statusCode, error.message, error.cause, error instanceof Error]

  const app = Fastify()
  await app.register(wsAuth, { jwt: { secret }, token: { message: true }, tickets: true, renewal: true })
  app.get('/chat', { websocket: true, wsAuth: { roles: ['member'] } }, (socket, request) => {
    socket.on('message', (data) => socket.send(request.user.sub + ' says ' + data))
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const url = 'ws://127.0.0.1:' + app.server.address().port + '/chat'
  const now = Math.floor(Date.now() / 1000)
  const token = sign({ sub: 'ann', roles: ['member'], exp: now + 600 })
  const messageLike = async (client, pattern) => await new Promise((resolve) => {
    client.on('message', (data) => { if (pattern.test(String(data))) resolve(String(data)) })
  })
  const talk = async (client, first) => {
    const answer = messageLike(client, /^ann says/)
    await once(client, 'open')
    if (first !== undefined) client.send(first)
    client.send('hello')
    return await answer
  }

  const header = new WebSocket(url, { headers: { authorization: 'Bearer ' + token } })
  seen.header = await talk(header)
  seen.first = await talk(new WebSocket(url), JSON.stringify({ type: 'auth', token }))
  const answer = messageLike(header, /"expiresAt":/)
  header.send(JSON.stringify({ type: 'auth', token: sign({ sub: 'ann', roles: ['member'], exp: now + 900 }) }))
  seen.renewed = JSON.parse(await answer).type
  const ticket = await app.inject({ method: 'POST', url: '/ws-ticket', headers: { authorization: 'Bearer ' + token } })
  seen.ticket = await talk(new WebSocket(url + '?ticket=' + ticket.json().ticket))
  const refusals = [{ origin: 'http://other.example' }, { authorization: 'Bearer x' }, { authorization: 'Bearer ' + sign({ sub: 'bob', exp: now + 600 }) }]
  seen.refused = []
  for (const headers of refusals) {
    const response = await app.inject({ url: '/chat', headers })
    seen.refused.push([response.statusCode, response.json().code])
  }
  const closed = once(header, 'close')
  seen.revoked = (await app.wsAuth.revoke({ sub: 'ann' })).closed
  const [code, reason] = await closed
  seen.closed = [code, String(reason)]
  await app.close()
  seen.stats = app.wsAuth.stats().accepted
  console.log(JSON.stringify(seen))
}
main().catch((error) => { console.error(error); process.exitCode = 1 })
`

t.before(async () => {
  const compiled = await runNode(ROOT, join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', join(ROOT, 'lib'), '--outDir', join(folder, 'lib'))
  if (compiled.code !== 0) throw new Error(`the package does not compile: ${compiled.output}`)
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  writeFileSync(join(folder, 'script.js'), SCRIPT)
  writeFileSync(join(folder, 'bare.js'), "require('fastify')(); require('ws'); require('@fastify/jwt'); require('@fastify/websocket'); console.log('bare')")
})

const EXPECTED = {
  redis: 'function',
  error: ['WS_AUTH_FORBIDDEN', 403, 'The user may not connect here', 'a test', true],
  header: 'ann says hello',
  first: 'ann says hello',
  renewed: 'auth.ok',
  ticket: 'ann says hello',
  refused: [[403, 'WS_AUTH_ORIGIN_FORBIDDEN'], [401, 'WS_AUTH_TOKEN_INVALID'], [403, 'WS_AUTH_FORBIDDEN']],
  revoked: 3,
  closed: [3000, 'token_revoked'],
  stats: 3
}

for (const [how, args, isFrozen] of [['frozen', ['--frozen-intrinsics'], true], ['left as they are', [], false]] as const) {
  t.test(`the package authenticates in a process whose intrinsics are ${how}`, async (t) => {
    const bare = await runNode(folder, ...args, '--no-warnings', 'bare.js')
    t.strictSame(bare, { code: 0, output: 'bare\n' }, 'what the package stands on starts')
    const { code, output } = await runNode(folder, ...args, '--no-warnings', 'script.js')
    t.equal(code, 0, output)
    t.strictSame(code === 0 ? JSON.parse(output) : output, { isFrozen, ...EXPECTED })
  })
}
