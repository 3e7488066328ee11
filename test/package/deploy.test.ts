/*
 * The files of example/deploy agree with the package and with each other.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseAllDocuments } from 'yaml'
import { CLOSE_TIMEOUT } from '../../lib/base/close-codes'
import { wsAuthErrors } from '../../lib/base/errors'
import { readPluginOptions } from '../../lib/options/read-plugin-options'
import { blocksOf, readDocument, ROOT, section, tableOf } from '../helpers/documents'

const FOLDER = 'example/deploy'
const events = section(readDocument('lib/README.md'), '## Events, log lines and counts')

function textOf (name: string): string {
  return readFileSync(join(ROOT, FOLDER, name), 'utf8')
}

/** The place of the timeout of a quiet connection in each file that has one. */
const IDLE: ReadonlyArray<readonly [file: string, before: string]> = [
  ['nginx.conf', 'proxy_read_timeout '], ['nginx.conf', 'proxy_send_timeout '], ['haproxy.cfg', 'timeout tunnel '], ['apache.conf', '\\n  Timeout ']
]

/** The first number that follows a text. */
function numberAfter (text: string, before: string): number {
  return Number(new RegExp(`${before}\\D*?(\\d+)`).exec(text)?.[1])
}

t.test('deploy/README.md lists each file', async (t) => {
  const names = tableOf(textOf('README.md')).map(([name]) => name)
  t.strictSame(names.sort(), readdirSync(join(ROOT, FOLDER)).filter((name) => name !== 'README.md').sort())
})

t.test('the metrics of deploy/server.js are those of the reference', async (t) => {
  const linesOf = (text: string): string => text.split('\n').map((line) => line.trim()).join('\n')
  const metrics = blocksOf(events).find(({ source }) => source.includes('/metrics'))?.source ?? ''
  t.ok(linesOf(textOf('server.js')).includes(linesOf(metrics).trim()))
})

t.test('the alerts name existing metrics, codes and reasons', async (t) => {
  const alerts = textOf('alerts.yaml')
  const names = [...events.matchAll(/add\('(\w+)'/g)].map(([, name]) => `ws_auth_${name}`)
  const reasons = tableOf(events).flatMap(([cell = '']) => cell.replaceAll('`', '').split(', '))
  for (const [name] of alerts.matchAll(/ws_auth_\w+/g)) t.ok(names.includes(name), name)
  for (const [, code = ''] of alerts.matchAll(/code="(\w+)"/g)) t.ok(code in wsAuthErrors, code)
  for (const [, reason = ''] of alerts.matchAll(/reason="(\w+)"/g)) t.ok(reasons.includes(reason), reason)
  t.ok(numberAfter(alerts, 'ws_auth_pending > ') < readPluginOptions({}).limits.pending)
})

/** What Kubernetes is told of an instance, as far as its end goes. */
interface Deployment {
  readonly kind: string
  readonly spec: {
    readonly strategy: { readonly rollingUpdate: { readonly maxSurge: number, readonly maxUnavailable: number } }
    readonly minReadySeconds: number
    readonly selector: { readonly matchLabels: object }
    readonly template: { readonly metadata: { readonly labels: object }, readonly spec: PodSpec }
  }
}

interface PodSpec {
  readonly terminationGracePeriodSeconds: number
  readonly containers: ReadonlyArray<{
    readonly ports: ReadonlyArray<{ readonly containerPort: number }>
    readonly env: ReadonlyArray<{ readonly name: string, readonly value?: string }>
    readonly readinessProbe: { readonly httpGet: { readonly path: string, readonly port: number } }
    readonly lifecycle: { readonly preStop: { readonly exec: { readonly command: readonly string[] } } }
    readonly resources: { readonly requests: Record<string, string>, readonly limits: Record<string, string> }
  }>
}

interface Budget {
  readonly kind: string
  readonly spec: { readonly maxUnavailable: number, readonly selector: { readonly matchLabels: object } }
}

interface Service {
  readonly kind: string
  readonly spec: { readonly selector: object, readonly ports: ReadonlyArray<{ readonly port: number }> }
}

const close = CLOSE_TIMEOUT / 1000
/** The time of a drain if no environment names one, in seconds. */
const drain = Number(/DRAIN_WITHIN = ([\d_]+)/.exec(textOf('server.js'))?.[1]?.replaceAll('_', '')) / 1000

t.test('the alert for a busy instance outlasts a drain, which refuses with the same code', async (t) => {
  const [, window, lasting] = /WsAuthBusy\n.*\[(\d+)m\].*\n +for: (\d+)m/.exec(textOf('alerts.yaml')) ?? []
  t.ok(Number(window) * 60 + drain < Number(lasting) * 60, `${window} min and ${drain} s in ${lasting} min`)
})

t.test('the times of kubernetes.yaml fit each other and the drain of server.js', async (t) => {
  const documents = parseAllDocuments(textOf('kubernetes.yaml'))
  for (const { errors, warnings } of documents) t.strictSame([...errors, ...warnings], [])
  const [deployment, budget, service] = documents.map((document) => document.toJS()) as [Deployment, Budget, Service]
  t.strictSame([deployment.kind, budget.kind, service.kind], ['Deployment', 'PodDisruptionBudget', 'Service'])

  const { strategy: { rollingUpdate }, minReadySeconds, selector, template } = deployment.spec
  const [container] = template.spec.containers
  if (container === undefined) throw new Error('the deployment has no container')
  const [program, seconds] = container.lifecycle.preStop.exec.command
  t.equal(program, 'sleep')
  t.equal(Number(container.env.find(({ name }) => name === 'DRAIN_WITHIN')?.value) / 1000, drain)
  const least = Number(seconds) + drain + close
  t.ok(template.spec.terminationGracePeriodSeconds > least, `a process has longer than ${least} s`)
  t.ok(minReadySeconds >= least, 'the drains of a rollout follow each other')
  t.strictSame(rollingUpdate, { maxSurge: 1, maxUnavailable: 0 })
  t.equal(budget.spec.maxUnavailable, 1)

  for (const labels of [selector.matchLabels, budget.spec.selector.matchLabels, service.spec.selector]) t.strictSame(labels, template.metadata.labels)
  const { httpGet } = container.readinessProbe
  t.ok(textOf('server.js').includes(`app.get('${httpGet.path}'`), httpGet.path)
  for (const port of [httpGet.port, service.spec.ports[0]?.port]) t.equal(port, container.ports[0]?.containerPort)
  t.equal(container.resources.requests.memory, container.resources.limits.memory)
})

t.test('compose.yaml gives the process longer than its drain and app.close() take, and each proxy waits longer than two heartbeats', async (t) => {
  t.ok(numberAfter(textOf('compose.yaml'), 'stop_grace_period: ') > drain + close)
  const heartbeat = Number(/interval: ([\d_]+)/.exec(textOf('server.js'))?.[1]?.replace('_', '')) / 1000
  for (const [file, before] of IDLE) t.ok(numberAfter(textOf(file), before) > 2 * heartbeat, file)
})

/** How far a figure of the text may be from what was measured last. */
const TOLERANCE = 0.1

t.test('the section on sizing has the figures of the benchmark', async (t) => {
  const sizing = section(textOf('README.md'), '## Sizing')
  const results = JSON.parse(readFileSync(join(ROOT, 'test/bench/results.json'), 'utf8')) as {
    memory: { figures: { C: Record<'heap' | 'rss', { median: number }> } }
    accepted: { microseconds: Record<'C' | 'C RS256' | 'C first message', { median: number }> }
    storm: { microseconds: Record<'C', { median: number }> }
  }
  const { heap, rss } = results.memory.figures.C
  const { C, 'C RS256': rs256, 'C first message': firstMessage } = results.accepted.microseconds
  const storm = results.storm.microseconds.C.median
  const rows: Array<[figure: RegExp, measured: number]> = [
    [/([\d.]+) KiB of heap/, heap.median], [/([\d.]+) KiB of RSS/, rss.median], [/connections are (\d+) MiB/, 5000 * rss.median / 1024],
    [/A handshake is ([\d.]+) ms/, C.median / 1000], [/RS256 ([\d.]+)/, rs256.median / 1000], [/first message ([\d.]+)/, firstMessage.median / 1000],
    [/on all instances \| ([\d.]+) s/, 5000 * storm / 1e6], [/each of ten \| (\d+) ms/, 500 * storm / 1e3], [/: ([\d.]+) s of CPU/, 50_000 * storm / 1e6]
  ]
  for (const [figure, measured] of rows) {
    const stated = Number(figure.exec(sizing)?.[1])
    t.ok(Math.abs(stated / measured - 1) < TOLERANCE, `${figure.source}: ${stated}, and measured was ${measured}`)
  }
  t.match(sizing, `| 5,000 | ${Math.round(5000 / drain)} |`)
})
