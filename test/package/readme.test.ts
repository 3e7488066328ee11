import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { WebSocket } from 'ws'
import { DEFAULT_CLOSE_CODES, wsAuthErrors } from '../../lib/base/errors'
import { AUTH_RENEW, authOk, readAuthFrame } from '../../lib/connection/auth-frames'
import { readPluginOptions } from '../../lib/options/read-plugin-options'
import { readRouteOptions } from '../../lib/options/read-route-options'
import { prepare, sign } from '../helpers/app'

const root = join(__dirname, '..', '..')
const readme = readFileSync(join(root, 'README.md'), 'utf8')

/** The rows of the first table behind a heading or a text; each cell without its backticks. */
function table (behind: string): string[][] {
  const from = readme.indexOf(behind)
  const rows = readme.slice(from).match(/(?:^\|.*\n)+/m)?.[0].trim().split('\n').slice(2) ?? []
  return rows.map((row) => row.slice(1, -1).split('|').map((cell) => cell.trim().replace(/^`([^`]*)`$/, '$1')))
}

function block (behind: string, language: string): string {
  const from = readme.indexOf('```' + language, readme.indexOf(behind))
  return readme.slice(readme.indexOf('\n', from) + 1, readme.indexOf('```', from + 3))
}

t.test('the table of refusals is the table of errors', async (t) => {
  const expected = Object.entries(wsAuthErrors).map(([code, { statusCode, close }]) =>
    [code, String(statusCode), close === null ? '-' : `${close.code} \`${close.reason}\``])
  t.strictSame(table('426 if the handshake would have been accepted').map((row) => row.slice(0, 3)), expected)
})

t.test('the table of options has every option and no other, with its default', async (t) => {
  const rows = Object.fromEntries(table('## Options').map(([name = '', byDefault]) => [name, byDefault]))
  const options = readPluginOptions({})
  t.strictSame(Object.keys(rows).sort(), Object.keys(options).sort())
  const literals = Object.entries(rows).filter(([name]) => ['origin', 'rejectWith', 'tokenCache', 'expiryGrace', 'maxLifetime', 'heartbeat', 'handshakeTimeout', 'maxTokenBytes', 'websocket', 'revocationTtl', 'backChannelLogout'].includes(name))
  for (const [name, text] of literals) {
    const value = options[name as keyof typeof options] ?? false
    t.equal(text, typeof value === 'string' ? `'${value}'` : JSON.stringify(value), name)
  }
  const object = (text = ''): unknown => JSON.parse(text.replace(/(\w+):/g, '"$1":').replaceAll('\'', '"').replace('Infinity', 'null'))
  t.strictSame(object(rows.closeCodes), DEFAULT_CLOSE_CODES)
  t.equal(rows.tickets, 'false')
  const [, tickets] = /any of `(\{[^`]*\})`/.exec(table('## Options').find(([name]) => name === 'tickets')?.[2] ?? '') ?? []
  t.strictSame(object(tickets), readPluginOptions({ tickets: true }).tickets, 'tickets')
  t.strictSame(object(rows.limits), JSON.parse(JSON.stringify(options.limits)), 'limits')
  t.strictSame(readPluginOptions({ token: object(rows.token) as object }).token, { ...options.token, cookie: { name: 'token', signed: false } })
})

t.test('the table of frames is what is sent and read', async (t) => {
  const frames = table('### Renewal').map(([frame = '', direction]) => [frame, direction])
  t.strictSame(frames.map(([, direction]) => direction), ['from the client', 'to the client', 'to the client', 'to the client'])
  const [auth, ok, error, renew] = frames.map(([frame = '']) => frame) as [string, string, string, string]
  t.strictSame(readAuthFrame(Buffer.from(auth), 100), { token: '...' })
  t.equal(ok, authOk(1893456000000))
  t.strictSame(JSON.parse(error), { type: 'auth.error', code: 'WS_AUTH_...' })
  t.equal(renew, AUTH_RENEW)
})

t.test('the metrics are such that Prometheus reads them', async (t) => {
  const { app } = await prepare(t, {
    routes: (app) => {
      app.get('/chat', { websocket: true }, (socket) => { socket.close() })
      // eslint-disable-next-line no-new-func -- what the README shows is what is run
      new Function('app', block('For Prometheus', 'js'))(app)
    }
  })
  await app.injectWS('/chat', { headers: { authorization: `Bearer ${sign()}` } })
  await t.rejects(app.injectWS('/chat'))
  const { headers, body } = await app.inject('/metrics')
  t.equal(headers['content-type'], 'text/plain; version=0.0.4')
  t.strictSame(body.trim().split('\n').filter((line) => !line.startsWith('# TYPE')).map((line) => line.replace('pending 1', 'pending 0')), [
    'ws_auth_connections 0', 'ws_auth_pending 0', 'ws_auth_accepted_total 1', 'ws_auth_renewed_total 0',
    'ws_auth_refused_total{code="WS_AUTH_TOKEN_MISSING"} 1', 'ws_auth_closed_total{reason="app"} 1'
  ])
  t.ok(body.includes('# TYPE ws_auth_refused_total counter\nws_auth_refused_total{'), 'each has its type before it')
})

t.test('the table of a route\'s options has every option', async (t) => {
  const names = table('or an object with any of').flatMap(([cell = '']) => cell.replaceAll('`', '').split(', '))
  const { access, ...options } = readRouteOptions({}, readPluginOptions({}))
  t.strictSame(names.sort(), Object.keys(options).sort())
})

t.test('the table of dependencies is package.json\'s', async (t) => {
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  t.strictSame(table('## Dependencies').map(([name]) => name).sort(), Object.keys(dependencies).sort())
})

t.test('the smallest server is as small as it says, and runs', async (t) => {
  const source = block('## The smallest server', 'js')
  t.ok(source.trim().split('\n').length < 20, 'server')
  t.ok(block('and in the browser', 'js').trim().split('\n').length < 10, 'client')
  t.ok(existsSync(join(root, 'dist', 'index.js')), 'the package is built')

  const folder = mkdtempSync(join(tmpdir(), 'readme-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(join(root, 'node_modules', 'fastify'), join(folder, 'node_modules', 'fastify'))
  symlinkSync(root, join(folder, 'node_modules', 'fastify-ws-auth'))
  writeFileSync(join(folder, 'server.mjs'), source)

  const server = spawn(process.execPath, ['server.mjs'], { cwd: folder, env: { ...process.env, NODE_OPTIONS: '', PORT: '0', JWT_SECRET: 'a secret of thirty-two bytes at the least' }, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => server.kill('SIGKILL'))
  const lines: string[] = []
  const origin = await new Promise<string>((resolve, reject) => {
    server.once('exit', (code) => reject(new Error(`it exited with ${code}: ${lines.join('\n')}`)))
    createInterface(server.stdout).on('line', (line) => {
      lines.push(line)
      const url = /Server listening at (http:\/\/127\.0\.0\.1:\d+)/.exec(line)?.[1]
      if (url !== undefined) resolve(url)
    })
  })
  const { token } = await (await fetch(`${origin}/login`, { method: 'POST' })).json() as { token: string }
  const client = new WebSocket(`${origin.replace('http', 'ws')}/chat`, ['bearer', token])
  const [message] = await once(client, 'message')
  t.equal(String(message), 'hello ann')
  client.terminate()
  const refused = await fetch(`${origin}/chat`)
  t.equal(refused.status, 401)
  t.equal(refused.headers.get('www-authenticate'), 'Bearer realm="websocket"')
  t.notOk(lines.join('\n').includes(token), 'the token is not in its log')
})
