/*
 * `app.close()` ends all WebSockets within 5 s, even if clients do not answer: nothing new is accepted, all open sockets get a
 * close frame, and those that are not closed after 3 s are terminated. With the `drain` option the connections are drained before that.
 */
import type { WebsocketPluginOptions } from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import type { WebSocket, WebSocketServer } from 'ws'
import { GOING_AWAY } from '../base/close-codes'
import { withDeadline } from '../base/deadline'
import { rootOf } from '../base/fastify-internals'
import { quietLog } from '../base/quiet-log'
import { inSlices, SLICE_TIME } from '../base/slices'
import { isThenable } from '../base/thenable'
import { closeSafely, terminateSafely } from '../connection/safe-calls'
import type { Parts } from './parts'

/** How long clients may take for the closing handshake, in milliseconds. */
const GOODBYE_TIMEOUT = 3000
/** How long the `websocket.preClose` of the app may take, in milliseconds. */
const PRE_CLOSE_TIMEOUT = 2000

type PreClose = NonNullable<WebsocketPluginOptions['preClose']>

/** The parts that are closed, in the order in which they are. */
export type ShutdownDependencies = Pick<Parts, 'listeners' | 'upgrades' | 'dryRuns' | 'waitingRoom' | 'lifecycle' | 'drain' | 'options'>

/** The end of an app. Both hooks do nothing if @fastify/websocket was never registered, because the registration failed. */
export class Shutdown {
  readonly #app: FastifyInstance
  readonly #dependencies: ShutdownDependencies
  #preClose: PreClose | undefined
  #drained: Promise<void> | null = null
  #server: WebSocketServer | null = null
  #timer: NodeJS.Timeout | undefined

  /** @param preClose the function of the app, which is called before the sockets are closed */
  constructor (app: FastifyInstance, dependencies: ShutdownDependencies, preClose: PreClose | undefined) {
    this.#app = app
    this.#dependencies = dependencies
    this.#preClose = preClose
    if (dependencies.options.drain !== null) this.#drainFirst(rootOf(app))
  }

  /** @fastify/websocket is registered: from now on there are sockets to close. */
  attach (server: WebSocketServer): void {
    this.#server = server
  }

  /** The `preClose` hook. */
  readonly begin = (done: () => void): void => {
    const server = this.#server
    if (server === null) return done()
    const close = (): void => { void this.#closeSockets(server).then(done) }
    this.#dependencies.listeners.close()
    this.#dependencies.upgrades.close()
    // A drain that `drain()` has begun: there is no time any more.
    this.#dependencies.drain.hurry()
    if (this.#preClose === undefined) close()
    else void callPreClose(this.#app, this.#preClose).then(close)
  }

  /**
   * Has `app.close()` drain the connections before Fastify closes anything: plain requests are served meanwhile, and a `preClose` hook has
   * only the `pluginTimeout` of Fastify. Called again, it closes what is left.
   */
  #drainFirst (root: FastifyInstance): void {
    const { close } = root
    const closeDrained = (...args: unknown[]): unknown => {
      if (this.#drained === null) this.#drained = this.#drain()
      else this.#dependencies.drain.hurry()
      return this.#drained.then(() => Reflect.apply(close, root, args) as unknown)
    }
    root.close = closeDrained as typeof close
  }

  /** Never rejects. */
  async #drain (): Promise<void> {
    const { drain, options } = this.#dependencies
    drain.begin()
    const preClose = this.#preClose
    this.#preClose = undefined
    if (preClose !== undefined && this.#server !== null) await callPreClose(this.#app, preClose)
    if (options.drain !== null) await drain.run(options.drain)
  }

  /** The `onClose` hook: all sockets have closed. */
  readonly finish = (_app: FastifyInstance, done: () => void): void => {
    clearTimeout(this.#timer)
    done()
  }

  /**
   * Closes all sockets in slices. From now on no guarded one delivers a message. Resolves when all close frames were sent; never rejects.
   *
   * @param server with the sockets of public routes too
   */
  async #closeSockets (server: WebSocketServer): Promise<void> {
    const { dryRuns, waitingRoom, lifecycle } = this.#dependencies
    this.#timer = setTimeout(() => {
      void eachOf(server.clients, terminateSafely)
      waitingRoom.terminate()
    }, GOODBYE_TIMEOUT).unref()
    dryRuns.close()
    waitingRoom.close()
    await lifecycle.close()
    // The sockets of public routes are left.
    await eachOf(server.clients, (socket) => closeSafely(socket, GOING_AWAY, 'shutdown'))
  }
}

async function eachOf (sockets: ReadonlySet<WebSocket>, each: (socket: WebSocket) => void): Promise<void> {
  await new Promise<void>((resolve) => inSlices(sockets.values(), each, resolve, SLICE_TIME))
}

/** Calls the function of the app, which may send last messages. The app closes even if it fails or never ends. */
async function callPreClose (app: FastifyInstance, preClose: PreClose): Promise<void> {
  try {
    const closed = new Promise<void>((resolve, reject) => {
      const done = (error?: unknown): void => { if (error == null) resolve(); else reject(new Error('it failed', { cause: error })) }
      // It calls back, or returns a promise.
      const call = preClose as (this: FastifyInstance, done: (error?: unknown) => void) => unknown
      const result = call.call(app, done)
      if (isThenable(result)) result.then(() => resolve(), reject)
    })
    await withDeadline(closed, PRE_CLOSE_TIMEOUT, 'websocket.preClose')
  } catch (error) {
    quietLog(app.log).warn({ err: error }, 'websocket.preClose did not come to its end')
  }
}
