/*
 * Sockets whose first message has not been accepted yet. They are not among the clients of the server, and the server emits their
 * `connection` event only once they have authenticated. This folder handles tokens in messages, at first and in renewals; it may
 * import `connection` and the folders below it. Start here, then read `first-message.ts` and `renewal.ts`.
 */
import type { IncomingMessage } from 'node:http'
import { WebSocket } from 'ws'
import type { WebSocketServer } from 'ws'
import type { Pending } from '../connection/limits'
import type { OpenConnection } from '../connection/open-connection'
import { terminateSafely } from '../connection/safe-calls'
import { FirstMessage } from './first-message'
import type { FirstMessageDependencies } from './first-message'
import type { Waiting } from './waiting'

/** The sockets of an app that wait for their first message, and those that were refused and are not closed yet. */
export class WaitingRoom {
  readonly #dependencies: FirstMessageDependencies
  readonly #pending: Pending
  readonly #messages = new Set<FirstMessage>()
  #server: WebSocketServer | null = null

  constructor (dependencies: FirstMessageDependencies, pending: Pending) {
    this.#dependencies = dependencies
    this.#pending = pending
  }

  /**
   * Holds back the `connection` events of sockets that will wait here: @fastify/websocket emits them before it calls a handler.
   *
   * @param isAwaited whether the socket of a request will wait for its first message
   */
  attach (server: WebSocketServer, isAwaited: (request: IncomingMessage) => boolean): void {
    this.#server = server
    const { emit } = server
    server.emit = function (this: WebSocketServer, event: string | symbol, ...args: unknown[]) {
      if (event !== 'connection') return Reflect.apply(emit, this, [event, ...args])
      if (isAwaited(args[1] as IncomingMessage)) return false
      try {
        return emit.call(this, event, ...args)
      } catch (error) {
        // A listener of the app has thrown: no handler is called for the socket, so nothing else would end it.
        terminateSafely(args[0] as WebSocket)
        throw error
      }
    }
  }

  /**
   * Waits for the first message of a socket, and shows the socket to the app once its token was accepted.
   *
   * @param run calls the handler of the route
   * @returns what the handler returned. Rejects with what the handler, or a listener for `connection`, has thrown
   */
  wait (waiting: Waiting, run: (connection: OpenConnection) => unknown): Promise<unknown> {
    const { socket, request } = waiting
    this.#server?.clients.delete(socket)
    return new Promise((resolve, reject) => {
      const onOpen = (connection: OpenConnection): unknown => {
        try {
          this.#show(socket, request.raw)
          const result = socket.readyState === WebSocket.OPEN ? run(connection) : undefined
          resolve(result)
          return result
        } catch (error) {
          reject(error)
          throw error
        }
      }
      this.#pending.count++
      const message = new FirstMessage(waiting, this.#dependencies, {
        onOpen,
        onSettled: () => { this.#pending.count-- },
        onGone: () => this.#messages.delete(message)
      })
      this.#messages.add(message)
    })
  }

  /** The earliest deadline, in milliseconds since the epoch; `Infinity` if no client is waited for. */
  get nextAt (): number {
    return Math.min(Infinity, ...[...this.#messages].map(({ deadline }) => deadline))
  }

  /** Refuses the clients whose deadline has passed by the clock. Their timers do it too, unless `fastify-ws-auth/testing` has moved the clock. */
  endDue (): void {
    for (const message of this.#messages) if (message.deadline <= Date.now()) message.onDeadline()
  }

  /** Closes all waiting sockets: the server is closing. */
  close (): void {
    for (const message of this.#messages) message.shutDown()
  }

  /** Terminates the sockets that have not answered the close frame. */
  terminate (): void {
    for (const message of this.#messages) message.terminate()
  }

  /** Calls listeners of the app, which may throw. */
  #show (socket: WebSocket, request: IncomingMessage): void {
    this.#server?.clients.add(socket)
    this.#server?.emit('connection', socket, request)
  }
}
