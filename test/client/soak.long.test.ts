/*
 * Ten thousand connections, one after another, in one process: nothing of them is left. With `CLIENT_PART=0.1` they are a thousand.
 */
import { getEventListeners, once, setMaxListeners } from 'node:events'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { WebSocket } from 'ws'
import { connect, webSocketClass } from '../../lib/client/index'
import type { AuthOptions, WebSocketLike } from '../../lib/client/index'
import { sign, start, until } from '../helpers/app'
import { PART } from '../helpers/part'

const CONNECTIONS = 10_000 * PART
const AT_ONCE = 50
/** By how many bytes the heap may grow for each connection, and in all by compiled code: a connection that is held has some kilobytes. */
const MOST_GROWTH = 400
const MOST_CODE = 2_000_000

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

function heap (): number {
  for (let times = 0; times < 4; times++) gc()
  return process.memoryUsage().heapUsed
}

t.test(`${CONNECTIONS} connects and closes leave no memory, listener, timer or connection`, async (t) => {
  const { app, port } = await start(t, {
    server: { logger: false },
    routes: (app) => { app.get('/', { websocket: true }, (socket) => { socket.send('hello') }) }
  })
  const url = `ws://127.0.0.1:${port}/`
  // One signal for all, as that of a page: a listener that stays is a leak.
  const { signal } = new AbortController()
  setMaxListeners(0, signal)
  const good = sign()
  const options: AuthOptions = { token: () => good, create: (address, protocols) => new WebSocket(address, protocols) as unknown as WebSocketLike }
  const Class = webSocketClass(options)
  const connectOnce = async (index: number): Promise<void> => {
    if (index % 4 === 3) {
      const socket = new Class(url)
      await new Promise((resolve) => { socket.onmessage = resolve })
      socket.close()
      await new Promise((resolve) => { socket.onclose = resolve })
      return
    }
    const socket = connect(url, { ...options, signal })
    // Some are closed while they connect.
    if (index % 4 === 2) await new Promise((resolve) => setTimeout(resolve, index % 5))
    else for await (const message of socket.messages()) if (message === 'hello') break
    socket.close()
  }
  const run = async (count: number): Promise<void> => {
    let begun = 0
    await Promise.all(Array.from({ length: AT_ONCE }, async () => { while (begun < count) await connectOnce(begun++) }))
    await until(() => app.wsAuth.connections.size === 0, 'the server has none')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  await run(1000)
  const [before, timers] = [heap(), timersOf()]
  await run(CONNECTIONS)
  const growth = (heap() - before) / CONNECTIONS
  t.comment(`the heap grew by ${growth.toFixed(1)} bytes for each connection`)
  t.ok(growth < MOST_GROWTH + MOST_CODE / CONNECTIONS, `${growth} bytes for each connection`)
  t.equal(getEventListeners(signal, 'abort').length, 0, 'listeners of the signal')
  t.ok(timersOf() <= timers + 5, `timers: ${timers}, and then ${timersOf()}`)
  const closed = once(app.server, 'close')
  await app.close()
  await closed
})

function timersOf (): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
}
