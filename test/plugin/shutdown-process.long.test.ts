/*
 * A process of which the app is closed while clients of each kind hold on: nothing keeps it alive.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { within } from '../helpers/app'
import { authFrame, openAll } from '../helpers/closing-app'
import { RawClient, upgrade } from '../helpers/raw-client'

t.test('the process of a closed app ends by itself', async (t) => {
  const child = spawn(process.execPath, [...process.execArgv, require.resolve('../helpers/closing-server')], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  t.teardown(() => child.kill('SIGKILL'))
  const [{ port }] = await within(20_000, 'the server', once(child, 'message')) as [{ port: number }]
  const clients = await openAll(t, port)
  clients['by first message']?.send(authFrame('held'))
  const verifying = await upgrade(t, port, { path: '/chat' })
  verifying.send(authFrame('held'))
  const refused = await upgrade(t, port, { path: '/refused' })
  const pending = await RawClient.open(t, port)
  pending.upgrade({ path: '/chat', headers: { authorization: 'Bearer held' } })

  const exit = once(child, 'exit')
  child.send('close')
  const [{ closed }] = await within(20_000, 'app.close()', once(child, 'message')) as [{ closed: object }]
  t.same(closed, { shutdown: 3 })
  child.disconnect()
  const [code, signal] = await within(20_000, 'its end', exit) as [number | null, string | null]
  t.same({ code, signal }, { code: 0, signal: null })
  await within(20_000, 'the refused one is gone', refused.ended)
})
