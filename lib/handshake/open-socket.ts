/*
 * The open socket of a websocket route: the connection is opened, or the first message is waited for, and then the handler is called.
 */
import type { FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import { GOING_AWAY } from '../base/close-codes'
import { quietLog } from '../base/quiet-log'
import { SampledLines } from '../base/sampled-lines'
import { isThenable } from '../base/thenable'
import type { ConnectionLifecycle } from '../connection/lifecycle'
import type { Limits } from '../connection/limits'
import type { OpenConnection } from '../connection/open-connection'
import { markFailed } from '../connection/failed-handler'
import { closeSafely, terminateSafely } from '../connection/safe-calls'
import { prepareEnd, shrink } from '../connection/ws-internals'
import { hideAssigned } from '../credentials/headers'
import type { WaitingRoom } from '../in-band/waiting-room'
import { candidateOf, setCandidate } from './candidate'
import { detachResponse, forgetHead } from './raw-socket'
import { Upgrade } from './upgrade'

/** RFC 6455, 7.4.1: the server cannot fulfil the request because of an unexpected condition. */
const INTERNAL_ERROR = 1011

/** Opens the sockets of an app. */
export class SocketOpener {
  readonly #lifecycle: ConnectionLifecycle
  readonly #waitingRoom: WaitingRoom
  readonly #limits: Limits
  readonly #keepsResponses: boolean
  readonly #lines = new SampledLines()

  /** @param keepsResponses whether the app has an error handler, which gets the reply of an open socket */
  constructor (lifecycle: ConnectionLifecycle, waitingRoom: WaitingRoom, limits: Limits, keepsResponses: boolean) {
    this.#lifecycle = lifecycle
    this.#waitingRoom = waitingRoom
    this.#limits = limits
    this.#keepsResponses = keepsResponses
  }

  /**
   * Called with each open socket of a websocket route, in place of the handler of the route.
   *
   * @param run calls the handler
   */
  readonly open = (socket: WebSocket, request: FastifyRequest, run: () => unknown): unknown => {
    const upgrade = candidateOf(request.raw)
    // The request was routed past our listener: it came to another server, or by another @fastify/websocket.
    if (!(upgrade instanceof Upgrade) || !upgrade.isAdmitted) return refuseSocket(socket, request, this.#lines)
    const { accepted, startedAt } = upgrade
    upgrade.adopt()
    setCandidate(request.raw, undefined)
    if (accepted === null) return this.#openPublic(socket, run)
    // A schema for headers is applied after the hooks, and its result is assigned to the request.
    hideAssigned(request, accepted.route.token)
    const { message: source } = accepted.route.token
    if (accepted.awaitsMessage && source !== null) {
      const { route, ticketClaims, ticketSub, ticketGroups, ticketKid } = accepted
      return this.#waitingRoom.wait({ socket, request, route, source, ticketClaims, ticketSub, ticketGroups, ticketKid, startedAt }, (connection) => this.#handle(socket, connection, request, run))
    }
    const connection = this.#lifecycle.open(socket, request, accepted, accepted.route, startedAt)
    return connection.isEnded ? undefined : this.#handle(socket, connection, request, run)
  }

  /** Its handshake may have been accepted before a drain, and have taken its time. */
  #openPublic (socket: WebSocket, run: () => unknown): unknown {
    if (this.#limits.isDraining) return closeSafely(socket, GOING_AWAY, 'drain')
    prepareEnd(socket)
    return handle(socket, null, run)
  }

  /** Calls the handler, and lets go of what nothing needs once it has run. */
  #handle (socket: WebSocket, connection: OpenConnection, { raw }: FastifyRequest, run: () => unknown): unknown {
    try {
      return handle(socket, connection, run)
    } finally {
      connection.letGo()
      forgetHead(raw)
      shrink(socket)
      if (!this.#keepsResponses) detachResponse(raw)
    }
  }
}

function refuseSocket (socket: WebSocket, request: FastifyRequest, lines: SampledLines): void {
  terminateSafely(socket)
  lines.write((more) => quietLog(request.log).error(more, 'a websocket was opened that fastify-ws-auth has not checked: no handler is run for it'))
}

/**
 * Calls the handler. If it throws, now or later, @fastify/websocket calls the error handler of the app; unless that does
 * better, the client gets 1011.
 */
function handle (socket: WebSocket, connection: Pick<OpenConnection, 'closeFor'> | null, run: () => unknown): unknown {
  const onFailure = (): void => markFailed(socket, () => {
    if (connection === null) closeSafely(socket, INTERNAL_ERROR, 'internal_error')
    else connection.closeFor('internal_error', INTERNAL_ERROR)
  })
  try {
    const result = run()
    if (isThenable(result)) result.then(undefined, onFailure)
    return result
  } catch (error) {
    onFailure()
    throw error
  }
}
