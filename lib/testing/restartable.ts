/*
 * A server on a port of its own that goes down and comes back on the same port, as one that is deployed does.
 */
import type { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { hostOf } from './app'
import type { AnyApp } from './app'

/** Makes an app that does not listen yet. */
export type CreateApp<App extends AnyApp> = () => App | PromiseLike<App>

/** How often, and after how many milliseconds, a port is tried again that another process may have for a moment. */
const ATTEMPTS = 20
const PAUSE = 50

/**
 * Starts a server on a free port of 127.0.0.1.
 *
 * @param createApp is called again for each start, because a Fastify app that has closed cannot listen again
 */
export async function restartable<App extends AnyApp> (createApp: CreateApp<App>): Promise<RestartableServer<App>> {
  if (typeof createApp !== 'function') throw new TypeError('"createApp" must be a function that makes an app, because an app that has closed cannot listen again')
  const server = new RestartableServer(createApp)
  await server.start()
  return server
}

/** A server that can be stopped and started again. Made by {@link restartable}. */
class RestartableServer<App extends AnyApp> {
  readonly #createApp: CreateApp<App>
  readonly #sockets = new Set<Socket>()
  #app: App | null = null
  #url = 'ws://127.0.0.1:0'
  #port = 0
  #isUp = false

  constructor (createApp: CreateApp<App>) {
    this.#createApp = createApp
  }

  /** The app that listens, or that listened last. */
  get app (): App {
    return this.#app as App
  }

  /** `ws://127.0.0.1:<port>`, or `wss:` if the app speaks TLS. It stays the same. */
  get url (): string {
    return this.#url
  }

  get port (): number {
    return this.#port
  }

  /** Has the function make an app, and listens on the port. Does nothing if one listens. */
  async start (): Promise<void> {
    if (this.#isUp) return
    this.#isUp = true
    const app = this.#app = await this.#createApp()
    app.server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    await listen(app, this.#port)
    const { protocol, port } = hostOf(app)
    this.#port = port
    this.#url = `${protocol}//127.0.0.1:${port}`
  }

  /** Closes the app, as `app.close()` does it: 1001 `shutdown`. Does nothing if it is closed. */
  async stop (): Promise<void> {
    if (!this.#isUp) return
    this.#isUp = false
    await this.#app?.close()
  }

  /** Ends all sockets without a close frame, as a process that is killed does, and closes the app. */
  async crash (): Promise<void> {
    for (const socket of this.#sockets) socket.resetAndDestroy()
    await this.stop()
  }

  /** `stop()`, then `start()`. */
  async restart (): Promise<void> {
    await this.stop()
    await this.start()
  }

  /** `stop()`, for the end of a test. */
  async close (): Promise<void> {
    await this.stop()
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.stop()
  }
}

export type { RestartableServer }

async function listen (app: AnyApp, port: number): Promise<void> {
  for (let attempts = ATTEMPTS; ; attempts--) {
    try {
      await app.listen({ port, host: '127.0.0.1' })
      return
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || attempts === 0) throw error
      await pause(PAUSE)
    }
  }
}
