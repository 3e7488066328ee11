/*
 * The documents: their tables are what the code has, their blocks of code are files or parse, their links lead somewhere.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import Fastify from 'fastify'
import t from 'tap'
import { ModuleKind, ScriptTarget, transpileModule } from 'typescript'
import { CLOSE_REASONS } from '../../lib/base/close-codes'
import { DEFAULT_CLOSE_CODES, wsAuthErrors } from '../../lib/base/errors'
import { memoryBackplane } from '../../lib/backplane/memory'
import { AUTH_PONG, authError, authOk, authRenew, authRetry, readAuthFrame } from '../../lib/connection/auth-frames'
import fastifyWsAuth from '../../lib/index'
import { readPluginOptions } from '../../lib/options/read-plugin-options'
import { readRouteOptions } from '../../lib/options/read-route-options'
import * as testing from '../../lib/testing/index'
import { prepare, SECRET, sign } from '../helpers/app'
import { anchorsOf, blocksOf, DOCUMENTS, linksOf, readDocument, ROOT, section, sentencesOf, tableOf } from '../helpers/documents'

const reference = readDocument('lib/README.md')
const protocol = readDocument('lib/PROTOCOL.md')
const options = section(reference, '## Plugin options')

/** A literal of the documents, as JSON has it. `Infinity` is `null`. */
function literal (text = ''): unknown {
  return JSON.parse(text.replace(/(\w+):/g, '"$1":').replaceAll('\'', '"').replaceAll('Infinity', 'null'))
}

t.test('the table of errors lists wsAuthErrors', async (t) => {
  const expected = Object.entries(wsAuthErrors).map(([code, { statusCode, close }]) => [code, String(statusCode), close?.reason ?? '-'])
  t.strictSame(tableOf(section(reference, '## Errors')).map((row) => row.slice(0, 3)), expected)
})

t.test('the tables of close codes have each reason of a refusal once, with its code and status', async (t) => {
  const rows = ['### Come back', '### Log in again', '### Stop'].flatMap((group) => tableOf(section(protocol, group)))
  const listed = rows.filter(([, , status]) => status !== '-').map((row) => row.slice(0, 3))
  const expected = Object.values(wsAuthErrors).flatMap(({ statusCode, close }) => close === null ? [] : [[String(close.code), close.reason, String(statusCode)]])
  t.strictSame(listed.sort(), expected.sort())
  const ends = ['none', 'connection_replaced', 'disconnected', 'idle', 'internal_error', 'lifetime_exceeded', 'message_limit', 'shutdown', 'drain']
  t.strictSame(rows.filter(([, , status]) => status === '-').map(([, reason]) => reason).sort(), ends.sort())
})

t.test('the table of options has every option and no other, with its default', async (t) => {
  const rows = Object.fromEntries(tableOf(options).map(([name = '', byDefault]) => [name.replaceAll('`', ''), byDefault]))
  const complete = readPluginOptions({})
  t.strictSame(Object.keys(rows).sort(), Object.keys(complete).sort())
  const literals = ['origin', 'rejectWith', 'tokenCache', 'expiryGrace', 'maxLifetime', 'heartbeat', 'handshakeTimeout', 'maxTokenBytes', 'websocket', 'revocationTtl', 'backChannelLogout', 'recheck', 'signals', 'drain'] as const
  for (const name of literals) t.strictSame(literal(rows[name]), complete[name] ?? false, name)
  t.strictSame(literal(rows.closeCodes), DEFAULT_CLOSE_CODES)
  t.equal(rows.tickets, 'false')
  const [, tickets] = /any of `(\{[^`]*\})`/.exec(section(options, '### `tickets`')) ?? []
  t.strictSame(literal(tickets), readPluginOptions({ tickets: true }).tickets, 'tickets')
  t.strictSame(literal(rows.limits), JSON.parse(JSON.stringify({ ...complete.limits, messages: false, bytes: false })), 'limits')
  t.strictSame([complete.limits.messages, complete.limits.bytes], [null, null])
  t.strictSame(readPluginOptions({ token: literal(rows.token) as object }).token, { ...complete.token, cookie: { name: 'token', signed: false } })
})

t.test('each option has a section with its type, and an example that is accepted', async (t) => {
  for (const name of Object.keys(readPluginOptions({}))) {
    const text = section(options, `### \`${name}\``)
    t.match(text, /\n\nType: \S/, `${name} has a type`)
    const [example] = blocksOf(text)
    // eslint-disable-next-line no-new-func -- what the document shows is what is read
    const given = new Function('memoryBackplane', `return ({${example?.source}})`)(memoryBackplane)
    t.strictSame(Object.keys(given), [name])
    t.doesNotThrow(() => readPluginOptions(given), name)
  }
})

t.test('the table of the keys of token has every key, with the meaning of true', async (t) => {
  const rows = tableOf(section(options, '### `token`'))
  for (const [key = '', byTrue] of rows.filter(([key]) => key !== 'header')) {
    const token = readPluginOptions({ token: { [key]: true } }).token[key as 'query' | 'cookie' | 'message']
    const shown = key === 'message' ? { ...literal(byTrue) as object, read: null, deliver: false } : literal(byTrue)
    t.strictSame(shown, key === 'cookie' ? (token as { name: string }).name : token, key)
  }
  t.strictSame(rows.map(([key]) => key).sort(), Object.keys(readPluginOptions({}).token).sort())
})

t.test('the table of a route\'s options has every option', async (t) => {
  const names = tableOf(section(reference, '## Route options')).flatMap(([cell = '']) => cell.replaceAll('`', '').split(', '))
  const { access, ...complete } = readRouteOptions({}, readPluginOptions({}))
  t.strictSame(names.sort(), [...Object.keys(complete), 'optional'].sort())
})

t.test('the table of frames has the frames that the plugin sends and reads', async (t) => {
  const frames = tableOf(section(protocol, '## Frames'))
  const sent = frames.filter(([, direction]) => direction === 'to the server').map(([frame = '']) => frame)
  const unused = { token: null, ticket: null, id: null }
  t.strictSame(sent.map((frame) => readAuthFrame(Buffer.from(frame), 100)), [
    { ...unused, type: 'auth', token: '...' }, { ...unused, type: 'auth', ticket: '...' }, { ...unused, type: 'auth.ping' }
  ])
  const got = frames.filter(([, direction]) => direction === 'to the client').map(([frame = '']) => Object.keys(JSON.parse(frame)))
  const ours = [authOk({ id: '', expiresAt: null, endsAt: null }, null), authRenew(0), authError('WS_AUTH_FORBIDDEN', null), AUTH_PONG, authRetry(0)]
  t.strictSame(got, ours.map((text) => Object.keys(JSON.parse(text))))
  t.equal(frames.length, sent.length + got.length)
})

t.test('the table of options of the client has every option, and its other tables every state and every member', async (t) => {
  const [document, types] = [readDocument('lib/client/README.md'), readFileSync(join(ROOT, 'lib/client/types.ts'), 'utf8')]
  const namesIn = (from: string, to: string, name: RegExp): string[] => [...types.slice(types.indexOf(from), types.indexOf(to)).matchAll(name)].map(([, name = '']) => name)
  const namesOf = (heading: string): string[] => tableOf(section(document, heading)).map(([name = '']) => name.replace(/\W.*/, ''))
  t.strictSame([...new Set(namesOf('## Options'))].sort(), namesIn('interface AuthOptions', 'interface End', /^ {2}readonly (\w+)\?:/gm).sort())
  t.strictSame(namesOf('## State').sort(), namesIn('type State', 'interface AuthSocketEvents', /'(\w+)'/g).filter((name) => !['offline', 'pagehide', 'idle'].includes(name)).sort())
  t.strictSame(namesOf('## Events and methods').sort(), ['close', 'messages', 'opened', 'reconnect', 'renew'])
})

t.test('the README of the client quotes the recipes', async (t) => {
  const quoted = blocksOf(readDocument('lib/client/README.md')).map(({ source }) => source)
  for (const [name, part] of [['tabs.js', 'navigator.locks'], ['cookie-login.js', 'ticket: true'], ['react.jsx', 'function useSocket']] as const) {
    const block = quoted.find((source) => source.includes(part)) ?? 'nothing'
    t.ok(readDocument(`example/client/${name}`).includes(block), name)
  }
})

t.test('example/README.md lists each recipe of the client, and its server', async (t) => {
  const readme = readDocument('example/README.md')
  for (const name of readdirSync(join(ROOT, 'example/client'))) t.ok(readme.includes(`client/${name}`), name)
})

t.test('the example of metrics has the format that Prometheus reads', async (t) => {
  const source = blocksOf(section(reference, '## Events, log lines and counts')).find(({ source }) => source.includes('/metrics'))?.source ?? ''
  const { app } = await prepare(t, {
    routes: (app) => {
      app.get('/chat', { websocket: true }, (socket) => { socket.close() })
      // eslint-disable-next-line no-new-func -- what the document shows is what is run
      new Function('app', source)(app)
    }
  })
  await app.injectWS('/chat', { headers: { authorization: `Bearer ${sign()}` } })
  await t.rejects(app.injectWS('/chat'))
  const { headers, body } = await app.inject('/metrics')
  t.equal(headers['content-type'], 'text/plain; version=0.0.4')
  const series = body.trim().split('\n').filter((line) => !line.startsWith('# TYPE'))
  t.equal(series.length, 4 + 2 * Object.keys(wsAuthErrors).length + CLOSE_REASONS.length, 'each code and each reason is a series')
  t.strictSame(series.filter((line) => !line.endsWith('} 0') && !line.startsWith('ws_auth_pending{} ')), [
    'ws_auth_accepted_total{route="/chat"} 1', 'ws_auth_refused_total{route="/chat",code="WS_AUTH_TOKEN_MISSING"} 1', 'ws_auth_closed_total{route="/chat",reason="app"} 1'
  ])
  t.ok(body.includes('# TYPE ws_auth_refused_total counter\nws_auth_refused_total{'), 'each has its type before it')
})

t.test('the table of dependencies lists those of package.json', async (t) => {
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  t.strictSame(tableOf(section(reference, '## Dependencies')).map(([name]) => name).sort(), Object.keys(dependencies).sort())
})

t.test('the map of lib has every folder', async (t) => {
  const folders = readdirSync(join(ROOT, 'lib'), { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name)
  t.strictSame(tableOf(section(reference, '## The map of lib')).map(([name]) => name).sort(), folders.sort())
})

t.test('each block of code is a file under example, or parses', async (t) => {
  for (const path of DOCUMENTS) {
    for (const { language, source, file } of blocksOf(readDocument(path))) {
      if (file !== null) t.equal(source, readFileSync(join(ROOT, file), 'utf8'), `${path}: quotes ${file}`)
      else if (language === 'js' || language === 'ts') t.ok(parses(source) || parses(`({${source}})`), `${path}: ${source}`)
    }
  }
})

t.test('each link leads to a file and to a heading', async (t) => {
  for (const path of DOCUMENTS) {
    for (const link of linksOf(readDocument(path))) {
      const target = link.path === '' ? path : join(dirname(path), link.path)
      t.ok(existsSync(join(ROOT, target)), `${path}: ${target} exists`)
      if (link.anchor !== null && existsSync(join(ROOT, target))) t.ok(anchorsOf(readDocument(target)).includes(link.anchor), `${path}: ${target} has #${link.anchor}`)
    }
  }
})

t.test('the README has at most 300 lines, 24 KB, 120 characters in a cell and 30 words in a sentence', async (t) => {
  const readme = readDocument('README.md')
  t.ok(readme.split('\n').length <= 300, 'lines')
  t.ok(Buffer.byteLength(readme) <= 24 * 1024, 'bytes')
  for (const cell of readme.split('\n').filter((line) => line.startsWith('|')).flatMap((row) => row.slice(1, -1).split('|'))) {
    t.ok(cell.trim().length <= 120, cell)
  }
  for (const sentence of sentencesOf(readme)) t.ok(sentence.split(/\s+/).length <= 30, sentence)
})

t.test('the README has the quick start, and the two commands of set-up', async (t) => {
  const readme = readDocument('README.md')
  t.ok(blocksOf(readme).some(({ file }) => file === 'example/quick-start/server.js'))
  for (const command of ['npm ci && npm start', 'npm ci && npm test']) t.ok(readme.includes(`\`${command}\``), command)
})

t.test('the quick start has at most 60 lines, none wider than 120 characters', async (t) => {
  const text = readDocument('example/quick-start/server.js').trimEnd().split('\n')
  t.ok(text.length <= 60, `${text.length} lines`)
  t.same(text.filter((line) => line.length > 120), [])
})

t.test('example/README.md lists each recipe', async (t) => {
  const readme = readDocument('example/README.md')
  for (const name of readdirSync(join(ROOT, 'example/recipes'))) t.ok(readme.includes(`(recipes/${name})`), name)
})

t.test('the routes of the README work as the README says', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const source = ['## Login with a cookie, and plain routes', '## Expiry and renewal', '## Log out everywhere'].map((heading) => sourceIn('README.md', heading))
  const guarded = ['## Roles', '## Messages and sending'].map((heading) => sourceIn('README.md', heading))
  // eslint-disable-next-line no-new-func -- what the document shows is what is run
  new Function('app', `app.register(async () => {\n${[...source, ...guarded].join('')}})`)(app.register(fastifyWsAuth, { jwt: { secret: SECRET } }))
  await app.ready()
  const cookies = { token: app.jwt.sign({ sub: 'ann', roles: ['admin', 'member'], scope: 'chat:write', tenant: 'one' }) }
  const statusOf = async (url: string, method: 'GET' | 'POST' = 'GET'): Promise<number> => (await app.inject({ url, method, cookies })).statusCode
  t.equal((await app.inject('/me')).statusCode, 401)
  t.equal(await statusOf('/me'), 200)
  t.equal(await statusOf('/admin?tenant=one'), 426)
  t.equal(await statusOf('/admin?tenant=two'), 403)
  const { token } = (await app.inject({ url: '/token', method: 'POST', cookies })).json<{ token: string }>()
  const socket = await app.injectWS('/echo', { headers: { authorization: `Bearer ${token}` } })
  socket.send('hello')
  t.equal(String((await once(socket, 'message'))[0]), 'ann: hello')
  const closed = once(socket, 'close')
  t.equal(await statusOf('/logout-everywhere', 'POST'), 204)
  t.strictSame((await closed).map(String), ['3000', 'token_revoked'])
  t.equal(await statusOf('/me'), 401)
})

t.test('the tests of the README pass', async (t) => {
  const { app } = await prepare(t, { routes: (app) => { app.get('/chat', { websocket: true, wsAuth: { roles: ['member'] } }, () => {}) } })
  t.teardown(() => testing.restoreClock())
  const source = sourceIn('README.md', '## Tests of your routes').replace(/^import ({.*}) from 'fastify-ws-auth\/testing'$/m, 'const $1 = testing')
  // eslint-disable-next-line no-new-func -- what the document shows is what is run
  const run = new Function('app', 'assert', 'testing', `return (async () => {${source}})()`)
  await t.resolves(run(app, assert, testing))
})

/** The first block of code under a heading. */
function sourceIn (path: string, heading: string): string {
  return blocksOf(section(readDocument(path), heading)).find(({ language }) => language === 'js')?.source ?? ''
}

function parses (source: string): boolean {
  const { diagnostics } = transpileModule(source, { reportDiagnostics: true, compilerOptions: { module: ModuleKind.ESNext, target: ScriptTarget.ESNext } })
  return diagnostics?.length === 0
}
