/*
 * The files of example/deploy agree with the package and with each other.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
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

t.test('an instance gets more time to stop than app.close() takes, and each proxy waits longer than two heartbeats', async (t) => {
  const close = CLOSE_TIMEOUT / 1000
  const kubernetes = textOf('kubernetes.yaml')
  t.ok(numberAfter(kubernetes, 'terminationGracePeriodSeconds: ') > numberAfter(kubernetes, '"sleep", ') + close)
  t.ok(numberAfter(textOf('compose.yaml'), 'stop_grace_period: ') > close)
  const heartbeat = Number(/interval: ([\d_]+)/.exec(textOf('server.js'))?.[1]?.replace('_', '')) / 1000
  for (const [file, before] of IDLE) t.ok(numberAfter(textOf(file), before) > 2 * heartbeat, file)
})
