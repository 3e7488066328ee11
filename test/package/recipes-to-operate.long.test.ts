/*
 * What operators and reviewers run: the server that is deployed, the recipe for many instances, metrics, the review of the chat, and
 * the recipe that compares policies.
 */
import { once } from 'node:events'
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { SECRET, sign, within } from '../helpers/app'
import { eventually } from '../helpers/browser'
import { buildExample, startFile } from '../helpers/example'
import type { RunningFile } from '../helpers/example'
import { reasonToSkip as reasonToSkipRedis, startRedis } from '../helpers/redis'
import { runAlone, runNode } from '../helpers/run-alone'

const ROOT = process.cwd()
const RECIPES = join(ROOT, 'example/recipes')
const PROMTOOL = '/usr/bin/promtool'
const RECIPE_SECRET = 'a secret of thirty-two bytes, or more'

t.before(buildExample)

t.test('npm start -- --inspect prints the policies of the chat, and exits with 0', async (t) => {
  const { code, output } = await runNode(ROOT, 'example/build/chat/server.js', '--inspect')
  t.equal(code, 0, output)
  const [table = '', advice = ''] = output.trim().split('\n\n')
  const paths = table.split('\n').slice(2).map((row) => /^\| `([^`]+)`/.exec(row)?.[1])
  t.ok(paths.length >= 2 && paths.every((path) => path?.startsWith('/')), table)
  t.strictSame(paths, [...paths].sort())
  t.match(advice, /^- `\w+`: .+\.$/m)
  t.notMatch(output, /secret/i)
})

/** Why Prometheus cannot check anything here, or `false`. In CI nothing is skipped: it fails. */
const noPromtool = existsSync(PROMTOOL) || process.env.CI === 'true' ? false : 'promtool is not installed (Debian: prometheus)'

/** The output of the recipe, after one connection and one refusal. */
async function scrape (t: Test): Promise<string> {
  const { url } = await startFile(t, 'recipes/prom-client.js')
  const socket = new WebSocket(`${url.replace('http', 'ws')}/chat`, { headers: { authorization: `Bearer ${sign({ sub: 'ann' }, RECIPE_SECRET)}` } })
  t.teardown(() => socket.terminate())
  await once(socket, 'message')
  const [error] = await once(new WebSocket(`${url.replace('http', 'ws')}/chat`), 'error')
  t.match(error, { message: /401/ })
  await once(new WebSocket(`${url.replace('http', 'ws')}/metrics`), 'error')
  return await (await fetch(`${url}/metrics`)).text()
}

t.test('prom-client: each count and each duration is a metric, and all metrics of the rules and the dashboard exist', async (t) => {
  const metrics = await scrape(t)
  for (const line of [
    'ws_auth_accepted_total{route="/chat"} 1', 'ws_auth_connections{route="/chat"} 1', 'ws_auth_refused_total{route="/chat",code="WS_AUTH_TOKEN_MISSING"} 1',
    'ws_auth_refused_total{route="",code="WS_AUTH_ROUTE_NOT_WEBSOCKET"} 1', 'ws_auth_refused_total{route="/chat",code="WS_AUTH_BUSY"} 0', 'ws_auth_backplane_current 1',
    'ws_auth_handshake_duration_seconds_count{route="/chat",result="accepted"} 1', 'ws_auth_handshake_duration_seconds_bucket{route="/chat",result="refused",le="+Inf"} 1',
    'ws_auth_connection_duration_seconds_count{route="/chat"} 0'
  ]) t.ok(metrics.split('\n').includes(line), line)
  t.notMatch(metrics, /nan|eyJ/i, 'what is not known is no sample')
  const names = new Set([...metrics.matchAll(/^(ws_auth_\w+)/gm)].map(([, name]) => name))
  names.add('ws_auth_backplane_age_seconds') // in memory it has no age
  const dashboard = JSON.parse(readFileSync(join(ROOT, 'example/deploy/grafana.json'), 'utf8')) as { panels: Array<{ targets: Array<{ expr: string }> }> }
  const used = [readFileSync(join(ROOT, 'example/deploy/alerts.yaml'), 'utf8'), ...dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))].flatMap((text) => text.match(/ws_auth_\w+/g) ?? [])
  t.ok(used.length > 10)
  for (const name of used) t.ok(names.has(name), name)
})

t.test('promtool accepts the rules, the queries of the dashboard and the metrics', { skip: noPromtool }, async (t) => {
  const rules = await runAlone(PROMTOOL, ['check', 'rules', 'example/deploy/alerts.yaml'], ROOT)
  t.equal(rules.code, 0, rules.output)
  const { panels } = JSON.parse(readFileSync(join(ROOT, 'example/deploy/grafana.json'), 'utf8')) as { panels: Array<{ targets: Array<{ expr: string }> }> }
  const queries = panels.flatMap(({ targets }, i) => targets.map(({ expr }) => ({ record: `panel:${i}`, expr: expr.replace('$__rate_interval', '5m') })))
  const folder = t.testdir({ 'panels.json': JSON.stringify({ groups: [{ name: 'panels', rules: queries }] }), 'metrics.txt': await scrape(t) })
  const dashboard = await runAlone(PROMTOOL, ['check', 'rules', join(folder, 'panels.json')], ROOT)
  t.equal(dashboard.code, 0, dashboard.output)
  const metrics = await runAlone('sh', ['-c', `${PROMTOOL} check metrics < ${join(folder, 'metrics.txt')}`], ROOT)
  t.equal(metrics.code, 0, metrics.output)
})

t.test('a drained instance does not fire the alert for a busy one, and an instance that stays busy does', { skip: noPromtool }, async (t) => {
  const [, summary] = /WsAuthBusy[^]*?summary: "([^"]*)"/.exec(readFileSync(join(ROOT, 'example/deploy/alerts.yaml'), 'utf8')) ?? []
  const busy = (instance: string, values: string): object => ({ series: `ws_auth_refused_total{code="WS_AUTH_BUSY",instance="${instance}"}`, values })
  const fired = [{ exp_labels: { instance: 'busy' }, exp_annotations: { summary } }]
  const folder = t.testdir({
    'rules.json': JSON.stringify({
      rule_files: [join(ROOT, 'example/deploy/alerts.yaml')],
      evaluation_interval: '15s',
      tests: [{
        interval: '15s',
        // The one is drained for 30 s and is gone; the other goes on refusing.
        input_series: [busy('drained', '0x20 5 12 _x60'), busy('busy', '0x20 1+3x60')],
        alert_rule_test: [6, 7, 8, 9, 10].map((minute) => ({ eval_time: `${minute}m`, alertname: 'WsAuthBusy', exp_alerts: minute < 9 ? [] : fired }))
      }]
    })
  })
  const { code, output } = await runAlone(PROMTOOL, ['test', 'rules', join(folder, 'rules.json')], ROOT)
  t.equal(code, 0, output)
})

t.test('policy-snapshot: the test passes, and fails when a policy changes', async (t) => {
  const passed = await runNode(ROOT, '--test', 'example/recipes/policy-snapshot.test.js')
  t.equal(passed.code, 0, passed.output)
  t.match(passed.output, /^# pass 2$/m)

  const folder = t.testdir({})
  for (const name of ['policy-snapshot.test.js', 'policy-snapshot.md', 'cookie-login-and-plain-routes.js']) cpSync(join(RECIPES, name), join(folder, name))
  const app = join(folder, 'cookie-login-and-plain-routes.js')
  const source = readFileSync(app, 'utf8')
  const changed = source.replace(/roles: \['member'\]/, "roles: ['member', 'guest']")
  t.not(changed, source)
  writeFileSync(app, changed)
  const failed = await runNode(ROOT, '--test', join(folder, 'policy-snapshot.test.js'))
  t.not(failed.code, 0)
  t.match(failed.output, /`member`, `guest`/)
  const updated = await runNode(ROOT, '-e', `process.env.UPDATE = '1'; require(${JSON.stringify(join(folder, 'policy-snapshot.test.js'))})`)
  t.equal(updated.code, 0, updated.output)
  t.match(readFileSync(join(folder, 'policy-snapshot.md'), 'utf8'), /`member`, `guest`/)
})

/** Why nothing with Redis runs here, or `false`. */
const noRedis = reasonToSkipRedis()

/** A client of `/chat` that has been greeted, what it was sent, and what it is closed with. */
async function enter ({ url }: RunningFile, sub: string, secret: string): Promise<{ socket: WebSocket, messages: string[], closed: Promise<string> }> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/chat`, { headers: { authorization: `Bearer ${sign({ sub, roles: ['member'] }, secret)}` } })
  const messages: string[] = []
  socket.on('message', (data) => messages.push(String(data)))
  const closed = once(socket, 'close').then(([code, reason]) => `${code} ${reason}`)
  await within(10_000, 'a greeting', once(socket, 'message'))
  return { socket, messages, closed }
}

const DRAIN_WITHIN = 6000
const CLIENTS = 12

t.test('deploy/server.js with SIGTERM is not ready, drains its clients, and ends with 0 within its time', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const server = await startFile(t, 'deploy/server.js', { REDIS_URL: redis.path, JWT_SECRET: SECRET, HOST: '127.0.0.1', DRAIN_WITHIN: String(DRAIN_WITHIN) })
  const { url } = server
  const statusOf = async (path: string): Promise<number> => (await fetch(url + path, { headers: { authorization: `Bearer ${sign({ sub: 'late', roles: ['member'] })}` } })).status
  t.strictSame([await statusOf('/readyz'), await statusOf('/healthz'), await statusOf('/chat')], [200, 200, 426])
  const clients = await Promise.all(Array.from({ length: CLIENTS }, async (_, i) => await enter(server, `user ${i}`, SECRET)))

  const startedAt = performance.now()
  server.signal('SIGTERM')
  await eventually(async () => await statusOf('/readyz') === 503, 'the server is not ready')
  t.strictSame([await statusOf('/healthz'), await statusOf('/chat')], [200, 503], 'it answers, and admits no client')
  t.ok(clients.some(({ socket }) => socket.readyState === WebSocket.OPEN), 'clients are still connected')
  t.strictSame(await Promise.all(clients.map(({ closed }) => closed)), clients.map(() => '1001 drain'))
  t.ok(performance.now() - startedAt > DRAIN_WITHIN / 2, 'the closes are spread')
  t.equal(await server.ended, 0)
  t.ok(performance.now() - startedAt < DRAIN_WITHIN + 9000)
})

t.test('send-to-user: a message reaches each connection of its user on two instances, and no other connection', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.path, JWT_SECRET: RECIPE_SECRET }
  const [first, second] = await Promise.all([startFile(t, 'recipes/send-to-user.js', env), startFile(t, 'recipes/send-to-user.js', env)])
  const [here, there, other, sender] = await Promise.all([enter(first, 'ann', RECIPE_SECRET), enter(second, 'ann', RECIPE_SECRET), enter(second, 'bea', RECIPE_SECRET), enter(first, 'cy', RECIPE_SECRET)])

  // A stray message ends no instance, and what a letter says of its sender is left out.
  for (const stray of ['{', 'null']) await redis.client().publish('to-user', stray)
  sender.socket.send(JSON.stringify({ to: 'ann', text: 'tea?', from: 'the boss', sub: 'ann' }))
  const letter = JSON.stringify({ from: 'cy', text: 'tea?' })
  for (const { messages } of [here, there]) await eventually(() => messages.includes(letter), 'the letter')
  // The same way takes a second letter: whatever the first has done, it has done by now.
  other.socket.send(JSON.stringify({ to: 'bea', text: 'to me' }))
  await eventually(() => other.messages.length === 2, 'a letter to oneself')
  t.strictSame([here, there, other, sender].map(({ messages }) => messages), [
    ['hello ann', letter], ['hello ann', letter], ['hello bea', JSON.stringify({ from: 'bea', text: 'to me' })], ['hello cy']
  ])

  for (const bad of ['{', 'null', '[]', '{"to":1,"text":""}', JSON.stringify({ to: 'ann', text: 'x'.repeat(1001) })]) {
    const { socket, closed } = await enter(first, 'cy', RECIPE_SECRET)
    socket.send(bad)
    t.equal(await within(10_000, bad, closed), '1008 bad_letter')
  }
  t.strictSame([here.messages.length, there.messages.length], [2, 2])
  t.strictSame(await Promise.all([first.stop(), second.stop()]), [0, 0])
  t.equal(await there.closed, '1001 shutdown')
  t.notMatch(first.output() + second.output(), /eyJ/, 'no token is in the log')
})

t.test('send-to-user: after an outage of Redis a message reaches the other instance again', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.path, JWT_SECRET: RECIPE_SECRET }
  const [first, second] = await Promise.all([startFile(t, 'recipes/send-to-user.js', env), startFile(t, 'recipes/send-to-user.js', env)])
  const [ann, sender] = await Promise.all([enter(second, 'ann', RECIPE_SECRET), enter(first, 'cy', RECIPE_SECRET)])
  await redis.stop('SIGKILL')
  await redis.start()
  const letters = (): number => ann.messages.filter((message) => message.includes('again')).length
  await eventually(() => {
    sender.socket.send(JSON.stringify({ to: 'ann', text: 'again' }))
    return letters() > 0
  }, 'a letter after the outage')
  t.strictSame(await Promise.all([first.stop(), second.stop()]), [0, 0])
})
