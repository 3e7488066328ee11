/*
 * The calls of a socket that send: they ask the guard of the socket first. A broadcast by a late timer, or after a blocked event
 * loop, must not reach a client whose token has expired.
 */
import { WebSocket } from 'ws'
import type { Sendable } from './connection'
import { kGuard } from './socket-guard'
import type { GuardedSocket } from './socket-guard'
import { pongCounter } from './ws-internals'

/** The callbacks of calls that send, and the options of a message. */
type Sent = (error?: Error) => void
type Done = (error: Error) => void
type SendOptions = Parameters<WebSocket['send']>[1]

/** Makes a class whose sockets send nothing once their guard says so. */
export function guardedSenderClass (Base: typeof WebSocket): typeof WebSocket {
  return class extends Base {
    /** ws sets it in its constructor. Few sockets need it, and it is 100 bytes of each. */
    get _autoPongComplete (): () => void {
      return pongCounter(this)
    }

    set _autoPongComplete (_unused: () => void) {}

    /** Every message that is sent passes here. The guard compares the clock with a deadline: that takes as long as to read the clock, 25 to 50 ns, and 8 ns in a loop; see `send-clock.ts`. */
    override send (data: Sendable, options?: SendOptions | Sent, done?: Sent): void {
      if (mayUse(this)) super.send(data, options as SendOptions, done)
      else failLater(typeof options === 'function' ? options : done)
    }

    override ping (data?: unknown, mask?: boolean | Done, done?: Done): void {
      if (mayUse(this)) super.ping(data, mask as boolean, done)
      else failLater([data, mask, done].find(isDone))
    }

    override pong (data?: unknown, mask?: boolean | Done, done?: Done): void {
      if (mayUse(this)) super.pong(data, mask as boolean, done)
      else failLater([data, mask, done].find(isDone))
    }
  }
}

/** Whether ws gets the call. It does if it answers with an error itself, because the socket is closing. */
function mayUse (socket: GuardedSocket): boolean {
  const by = socket[kGuard] ?? null
  return by === null || by.admitSend() || socket.readyState !== WebSocket.OPEN
}

/** Reports to a caller, as ws does it, that nothing was sent. Without a callback nothing happens. */
function failLater (done: Done | undefined): void {
  if (done !== undefined) process.nextTick(done, new Error('The connection has ended: nothing is sent'))
}

function isDone (value: unknown): value is Done {
  return typeof value === 'function'
}
