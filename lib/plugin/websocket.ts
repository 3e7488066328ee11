/*
 * @fastify/websocket, and the options that it is registered with: those of the app, with the functions of this package around them.
 */
import type { EventEmitter } from 'node:events'
import type { Server } from 'node:http'
import type { WebsocketPluginOptions } from '@fastify/websocket'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { WebSocket, WebSocketServer } from 'ws'
import { rootOf, scopesOf } from '../base/fastify-internals'
import { CLOSE_TIMEOUT } from '../base/close-codes'
import { quietLog } from '../base/quiet-log'
import { errorWithoutToken } from '../base/redaction'
import { SampledLines } from '../base/sampled-lines'
import { isThenable } from '../base/thenable'
import { logOf } from '../connection/connection-of'
import { endOverError } from '../connection/failed-handler'
import { guardedSocketClass } from '../connection/guarded-socket'
import { chooseProtocol } from '../credentials/subprotocol'
import type { KnownNames } from '../credentials/known-names'
import type { ListenToErrors } from '../handshake/answer-upgrade'
import type { CompleteOptions } from '../options/complete-options'

/** An option of ws that its types do not know. */
const BY_DEFAULT = { closeTimeout: CLOSE_TIMEOUT }

type ErrorHandler = NonNullable<WebsocketPluginOptions['errorHandler']>
type HandleProtocols = NonNullable<NonNullable<WebsocketPluginOptions['options']>['handleProtocols']>

/** @throws Error on Bun, whose class in place of the one of ws has no receiver: a first message could have any size */
export function assertRuntime (): void {
  if (process.versions.bun === undefined) return
  throw new Error('fastify-ws-auth does not run on Bun, which replaces the package "ws" by a class of its own: that class has no receiver, ' +
    'by which this plugin limits the messages of clients that are not authenticated yet. Run the app by Node.js or Deno')
}

/** @throws Error if this plugin or @fastify/websocket is registered in this scope or above. One of a scope below cannot be seen from here */
export function assertNoWebsocket (app: FastifyInstance): void {
  // It has registered @fastify/websocket, so that this comes first.
  if (app.hasDecorator('wsAuth')) throw new Error('fastify-ws-auth is registered already: register it once, for all routes that are declared after it')
  if (app.hasPlugin('@fastify/websocket')) {
    throw new Error('@fastify/websocket is registered already: register fastify-ws-auth in its place and pass its options as "websocket"')
  }
}

/**
 * Called when no plugin is registered any more.
 *
 * @param server the server that gets the upgrades
 * @throws Error if a scope has a @fastify/websocket of its own that listens to it: each upgrade would be answered twice, which ends the process
 */
export function assertOneWebsocket (app: FastifyInstance, server: EventEmitter): void {
  // The name of the listener of @fastify/websocket. One that has another server does not listen to this one.
  if (!server.listeners('upgrade').some(({ name }) => name === 'onUpgrade')) return
  const scope = scopesOf(rootOf(app)).find(({ websocketServer = app.websocketServer }) => websocketServer !== app.websocketServer)
  if (scope === undefined) return
  throw new Error(`@fastify/websocket is registered a second time, in the scope of "${scope.pluginName}", and both would answer each upgrade: ` +
    'register fastify-ws-auth at the root and before that scope, so that it uses this @fastify/websocket (mercurius does)')
}

/** The options of @fastify/websocket, and the choice of subprotocols that they contain. */
export interface WebsocketSetup {
  readonly options: WebsocketPluginOptions
  readonly protocols: ProtocolChooser
  readonly listenToErrors: ListenToErrors
}

/** Makes the options of @fastify/websocket. @param relay emits the upgrades that @fastify/websocket gets */
export function websocketSetup (app: FastifyInstance, { websocket }: CompleteOptions, names: KnownNames, relay: EventEmitter): WebsocketSetup {
  const protocols = new ProtocolChooser(app, websocket.options?.handleProtocols, names)
  const onError = errorHandler(websocket.errorHandler)
  const options: WebsocketPluginOptions = {
    ...websocket,
    errorHandler: onError,
    preClose: closeServer,
    options: {
      ...BY_DEFAULT,
      ...websocket.options,
      server: relay as Server,
      WebSocket: guardedSocketClass(websocket.options?.WebSocket),
      handleProtocols: protocols.choose
    }
  }
  return { options, protocols, listenToErrors: websocket.errorHandler === undefined ? listenLightly : listener(onError) }
}

/** For an app with an error handler, which gets the request and the reply. */
function listener (handle: ErrorHandler): ListenToErrors {
  return (scope, socket, request, reply) => {
    const fail = (error: unknown): void => handle.call(scope, error as Error, socket, request, reply)
    socket.on('error', fail)
    return fail
  }
}

/** For all others: one listener for all sockets, and a function that keeps the log. */
const listenLightly: ListenToErrors = (_scope, socket, { log }) => {
  socket.on('error', onSocketError)
  return (error) => failSocket(socket, logOf(socket) ?? log, error)
}

function onSocketError (this: WebSocket, error: Error): void {
  failSocket(this, logOf(this), error)
}

function failSocket (socket: WebSocket, log: FastifyBaseLogger | null, error: unknown): void {
  if (log !== null) logError(log, error)
  endOverError(socket)
}

/**
 * Calls the error handler of the app, which may fail. Replaces the default of @fastify/websocket, which terminates the socket:
 * the client would not learn that the handler has failed.
 */
function errorHandler (own: ErrorHandler | undefined): ErrorHandler {
  return function (this: FastifyInstance, error, socket, request, reply) {
    const fail = (fault: unknown): void => {
      quietLog(request.log).error({ err: errorWithoutToken(fault, '') }, 'websocket.errorHandler failed')
      endOverError(socket)
    }
    if (own === undefined) return failSocket(socket, request.log, error)
    try {
      const result: unknown = own.call(this, error, socket, request, reply)
      if (isThenable(result)) result.then(undefined, fail)
    } catch (fault) {
      fail(fault)
    }
  }
}

/** Logs as @fastify/websocket does. A thrown value may be frozen, or throw when it is read: then a copy is logged. */
function logError (log: FastifyBaseLogger, error: unknown): void {
  try {
    log.error(error)
    if (takesOtherForSocket(error)) log.warn('the handler of a websocket route is called with (socket, request), and the socket has send(), on() and close() itself')
  } catch {
    quietLog(log).error({ err: errorWithoutToken(error, '') }, 'a websocket handler failed')
  }
}

/** The message of a handler that takes its request for its socket, or its socket for the stream of @fastify/websocket 10. */
const NO_SOCKET = /^(?:[\w.]+\.)?(?:send|close|on|once|terminate|ping) is not a function$|^Cannot read properties of undefined \(reading '(?:send|close|on|once|terminate|ping)'\)$/

/** @throws what reading the error throws */
function takesOtherForSocket (error: unknown): boolean {
  return error instanceof TypeError && NO_SOCKET.test(error.message)
}

/** Closes the server. Replaces the function of @fastify/websocket, which would close the sockets again. */
function closeServer (this: FastifyInstance, done: () => void): void {
  this.websocketServer.close()
  done()
}

/** Chooses the subprotocol of each answer: asks the function of the app, or of a library that has replaced it. */
class ProtocolChooser {
  readonly #app: FastifyInstance
  readonly #names: KnownNames
  readonly #lines = new SampledLines()
  #choose: HandleProtocols

  constructor (app: FastifyInstance, own: HandleProtocols | undefined, names: KnownNames) {
    this.#app = app
    this.#names = names
    this.#choose = this.#chooser(own)
  }

  readonly choose: HandleProtocols = (offered, request) => this.#choose(offered, request)

  /**
   * Asks one function. A library that wraps the function that it finds (`app.websocketServer.options.handleProtocols`) gets the one
   * before, and not itself.
   */
  #chooser (own: HandleProtocols | undefined): HandleProtocols {
    return (offered, request) => {
      try {
        return chooseProtocol(offered, this.#names.subprotocol, own?.(offered, request))
      } catch (error) {
        // It is not known which subprotocol an answer could name.
        this.#lines.write((more) => quietLog(this.#app.log).error({ err: error, ...more }, 'websocket.options.handleProtocols failed'))
        request.socket?.destroy()
        throw error
      }
    }
  }

  /** Keeps the choice of this package in front of a function that is set later, for all routes: graphql-ws sets one. */
  guard (server: WebSocketServer): void {
    Object.defineProperty(server.options, 'handleProtocols', {
      configurable: true,
      enumerable: true,
      get: () => this.#choose,
      set: (own: HandleProtocols | undefined) => { this.#choose = this.#chooser(own) }
    })
  }
}
