/*
 * The sweep after a million sleepers, and in a process of its own.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { assertForgets } from '../helpers/test-sweep'

t.test('the sweep keeps at most twice as many entries as sleepers, after a million have come and gone', async (t) => {
  assertForgets(t, 1_000_000)
})

t.test('the sweep does not keep the process from its end', async (t) => {
  const child = fork(require.resolve('../helpers/sleeping'), { env: { ...process.env, NODE_OPTIONS: '' } })
  t.teardown(() => { child.kill('SIGKILL') })
  const asleep = once(child, 'message')
  const [code] = await once(child, 'exit')
  t.same(await asleep, [{ size: 3 }, undefined], 'three slept')
  t.equal(code, 0)
})
