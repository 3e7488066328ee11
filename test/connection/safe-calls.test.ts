/*
 * Calls of a socket whose class belongs to the app, and may throw.
 */
import t from 'tap'
import { WebSocket } from 'ws'
import { closeSafely, pingSafely, sendSafely, terminateSafely } from '../../lib/connection/safe-calls'

let terminated = 0

class Failing extends WebSocket {
  override terminate (): void {
    terminated++
    throw new Error('terminate fails')
  }

  override close (): void { throw new Error('close fails') }
  override send (): void { throw new Error('send fails') }
  override ping (): void { throw new Error('ping fails') }
}

/** A socket that has no stream any more. */
function failing (): Failing {
  return Object.assign(Reflect.construct(WebSocket, [null, undefined, {}], Failing) as Failing, { _readyState: WebSocket.CLOSED })
}

t.test('a socket that cannot be closed is terminated, and nothing is thrown', async (t) => {
  const socket = failing()
  closeSafely(socket, 1000, '')
  t.equal(terminated, 1)
  terminateSafely(socket)
  t.equal(terminated, 2)
})

t.test('a text that cannot be sent still calls back, and a ping that cannot be sent returns false', async (t) => {
  let isDone = false
  sendSafely(failing(), 'x', () => { isDone = true })
  t.ok(isDone)
  t.doesNotThrow(() => sendSafely(failing(), 'x'))
  t.equal(pingSafely(failing()), false)
})
