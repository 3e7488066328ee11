/*
 * The socket that a handler gets: a WebSocket of ws that asks its guard before it emits an event. `emit` is the only place that
 * all listeners share (`on`, `once`, `onmessage`, streams). It must be asked for every event: after a close frame was sent, a
 * client that ignores it can still deliver messages, and a timer that ends a connection runs after the messages that came in the
 * same turn of the event loop. The calls that send are in `guarded-sender.ts`.
 */
import { WebSocket } from 'ws'
import type { RawData } from 'ws'
import { guardedSenderClass } from './guarded-sender'
import { kGuard } from './socket-guard'
import type { SocketGuard } from './socket-guard'
import { closeCauseOf, closeQuietly, isFlooded, limitFarewell, unrefCloseTimer } from './ws-internals'

/**
 * Makes the class of the sockets of a server.
 *
 * @param Base the class of the app, if it has one
 */
export function guardedSocketClass (Base: typeof WebSocket = WebSocket): typeof WebSocket {
  return class extends guardedSenderClass(Base) {
    [kGuard]: SocketGuard | null = null

    override emit (event: string | symbol, ...args: unknown[]): boolean {
      // Not set yet if a class of the app emits in its constructor.
      const by = this[kGuard] ?? null
      // Every message passes here. Without an array for its arguments this costs 45 ns instead of 65.
      if (event === 'message') {
        return (by === null || by.admitMessage(args[0] as RawData, args[1] === true)) && super.emit(event, args[0], args[1])
      }
      if (by !== null && event === 'close') {
        // The listeners are called even if the logger of the app throws: one of them is how ws forgets the socket.
        try {
          by.onClosed()
        } finally {
          super.emit(event, ...args)
        }
        return true
      }
      if (by !== null && !admits(by, event, args)) return false
      return super.emit(event, ...args)
    }

    override close (code?: number, reason?: string | Buffer): void {
      const isOpen = this.readyState === WebSocket.OPEN
      if (isOpen) closeQuietly(this)
      super.close(code, reason)
      if (isOpen) {
        unrefCloseTimer(this)
        this[kGuard]?.onClosing(closeCauseOf(this))
      } else if (this[kGuard] !== null && limitFarewell(this)) {
        this[kGuard].onClosing('lost')
      }
    }

    override terminate (): void {
      try {
        if (this.readyState === WebSocket.OPEN) this[kGuard]?.onClosing(isFlooded(this) ? 'error' : 'app')
      } finally {
        super.terminate()
      }
    }
  }
}

function admits (by: SocketGuard, event: string | symbol, args: readonly unknown[]): boolean {
  switch (event) {
    case 'ping':
    case 'pong': return by.admitControl()
    case 'error': return by.admitError(args[0] as Error)
  }
  return true
}
