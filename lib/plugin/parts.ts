/*
 * The composition root: makes all parts of an app. Each line needs only the lines above it.
 */
import type { Server } from 'node:http'
import type { WebsocketPluginOptions } from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import { Audit } from '../audit/audit'
import { Stats } from '../audit/stats'
import type { ClaimsSchema } from '../authentication/claims-schema'
import { userSetter } from '../authentication/identity'
import { Tickets } from '../authentication/tickets'
import { RevocationList } from '../backplane/revocation-list'
import { ConnectionLifecycle } from '../connection/lifecycle'
import { Limits, Pending } from '../connection/limits'
import { ConnectionRegistry } from '../connection/registry'
import { KnownNames } from '../credentials/known-names'
import { AcceptAndClose } from '../handshake/accept-and-close'
import { markPlain } from '../handshake/candidate'
import { WaitingDryRuns } from '../handshake/dry-run'
import { PendingUpgrades } from '../handshake/pending-upgrades'
import { PreValidation } from '../handshake/pre-validation'
import { SocketOpener } from '../handshake/open-socket'
import { ServerListeners } from '../handshake/server-listeners'
import type { ServerEvents } from '../handshake/server-listeners'
import { Renewals } from '../in-band/renewal'
import { WaitingRoom } from '../in-band/waiting-room'
import type { CompleteOptions } from '../options/complete-options'
import { Instance } from '../revocation/instance'
import { RevocationCheck } from '../revocation/revocation-check'
import type { Verifier } from '../token/verifier'
import { attend } from './attendance'
import { createVerifier } from './jwt'
import type { FoundJwt } from './jwt'
import { websocketOptions } from './websocket'

/** The parts of an app that its hooks, decorators and endpoints use. */
export interface Parts {
  readonly options: CompleteOptions
  readonly audit: Audit
  readonly stats: Stats
  readonly pending: Pending
  readonly connections: ConnectionRegistry
  readonly instance: Instance
  readonly lifecycle: ConnectionLifecycle
  readonly listeners: ServerListeners
  readonly names: KnownNames
  readonly dryRuns: WaitingDryRuns
  readonly opener: SocketOpener
  readonly preValidation: PreValidation
  readonly revocation: RevocationCheck
  /** `null` if tickets are off. */
  readonly tickets: Tickets | null
  readonly upgrades: PendingUpgrades
  readonly verifier: Verifier
  readonly waitingRoom: WaitingRoom
  /** The options of @fastify/websocket. */
  readonly websocket: WebsocketPluginOptions
}

/** Makes the parts. Two of them start something, and add the hooks that stop it at once, because a later line may throw. */
export function buildParts (app: FastifyInstance, options: CompleteOptions, jwt: FoundJwt | null, claimsSchema: ClaimsSchema): Parts {
  const { log } = app
  const { backplane, revocationTtl } = options
  const names = knownNames(app, options)
  const stats = new Stats()
  const audit = new Audit(stats)
  const pending = new Pending()
  const upgrades = new PendingUpgrades(pending, (request, why, startedAt) => audit.unanswered(request, log, why, startedAt))
  const listeners = listen(app, options, {
    onPlainHandshake: (request) => markPlain(request, names),
    onEarly: (request, socket) => upgrades.turnAway(request, socket)
  })
  const connections = new ConnectionRegistry()
  const limits = new Limits(options.limits, connections, pending)
  const verifier = createVerifier(app, options, jwt)
  const revocations = new RevocationList()
  const instance = new Instance({ backplane, connections, revocations, log, revocationTtl })
  const { link } = instance
  attend(app, link)
  const revocation = new RevocationCheck({ revocations, link, log, revocationTtl, livesWithoutExpiry: options.verify === undefined })
  const tickets = options.tickets.query === null ? null : new Tickets(link, options.tickets.ttl, verifier.rules)
  const context = { options, names, verifier, claimsSchema, limits, revocation, tickets }
  const setUser = userSetter(jwt?.userDecorator ?? null)
  const renewals = new Renewals(context, audit, setUser)
  const lifecycle = new ConnectionLifecycle({ options, rules: verifier.rules, connections, limits, audit, renewals, revocation })
  const waitingRoom = new WaitingRoom({ context, limits, audit, lifecycle, setUser }, pending)
  const websocket = websocketOptions(app, options, names, listeners.relay)
  const acceptAndClose = new AcceptAndClose(websocket.options?.handleProtocols, options.limits.pending)
  const dryRuns = new WaitingDryRuns(pending, audit, options.handshakeTimeout)
  const preValidation = new PreValidation({ context, audit, dryRuns, setUser, acceptAndClose })
  const opener = new SocketOpener(lifecycle, waitingRoom)
  return { options, audit, stats, pending, connections, instance, lifecycle, listeners, names, opener, preValidation, dryRuns, revocation, tickets, upgrades, verifier, waitingRoom, websocket }
}

/** Listens to the server of the app, or to the one of the `websocket` option, until the app has closed. */
function listen (app: FastifyInstance, { websocket, handshakeTimeout }: CompleteOptions, events: Omit<ServerEvents, 'timeout'>): ServerListeners {
  const server = (websocket.options?.server ?? app.server) as Server
  const listeners = new ServerListeners(server, app.server, { ...events, timeout: handshakeTimeout })
  app.addHook('onClose', (_app, done) => { listeners.release(); done() })
  return listeners
}

/** The names and paths by which credentials are found, as the router of the app reads paths. */
function knownNames (app: FastifyInstance, options: CompleteOptions): KnownNames {
  const { routerOptions, ...config } = app.initialConfig
  const names = new KnownNames({ ...config, ...routerOptions })
  names.addSources(options)
  return names
}
