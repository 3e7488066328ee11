/*
 * The composition root: makes all parts of an app. Each line needs only the lines above it.
 */
import type { Server } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { Audit } from '../audit/audit'
import { Stats } from '../audit/stats'
import { TokenChecksByRoute } from '../authentication/token-checks'
import { ClaimsSchema } from '../authentication/claims-schema'
import { userSetter } from '../authentication/identity'
import type { SetUser } from '../authentication/identity'
import { Tickets } from '../authentication/tickets'
import { RevocationList } from '../backplane/revocation-list'
import { trustsProxy } from '../base/fastify-internals'
import { quietLog } from '../base/quiet-log'
import { nameOfError } from '../base/redaction'
import { SampledLines } from '../base/sampled-lines'
import { ignoreRejection } from '../base/thenable'
import { ConnectionLifecycle } from '../connection/lifecycle'
import { Limits, Pending } from '../connection/limits'
import { createUserSlots } from '../connection/user-slots'
import { ConnectionRegistry } from '../connection/registry'
import { KnownNames } from '../credentials/known-names'
import { AcceptAndClose } from '../handshake/accept-and-close'
import { markPlain } from '../handshake/candidate'
import type { HandshakeContext } from '../handshake/checks'
import { WaitingDryRuns } from '../handshake/dry-run'
import { PendingUpgrades } from '../handshake/pending-upgrades'
import { PreValidation } from '../handshake/pre-validation'
import { SocketOpener } from '../handshake/open-socket'
import { ServerListeners } from '../handshake/server-listeners'
import type { ServerEvents } from '../handshake/server-listeners'
import { Rechecks } from '../in-band/recheck'
import { Renewals } from '../in-band/renewal'
import { WaitingRoom } from '../in-band/waiting-room'
import type { CompleteOptions } from '../options/complete-options'
import { Instance } from '../revocation/instance'
import { RevocationCheck } from '../revocation/revocation-check'
import type { Verifier } from '../token/verifier'
import { attend } from './attendance'
import { Inspector } from './inspector'
import { createVerifier } from './jwt'
import { Drain } from '../connection/drain'
import type { FoundJwt } from './jwt'
import { websocketSetup } from './websocket'
import type { WebsocketSetup } from './websocket'

/** The parts of an app that its hooks, decorators and endpoints use. */
export interface Parts {
  readonly options: CompleteOptions
  readonly audit: Audit
  readonly checks: TokenChecksByRoute
  readonly context: HandshakeContext
  readonly stats: Stats
  readonly pending: Pending
  readonly connections: ConnectionRegistry
  readonly inspector: Inspector
  readonly instance: Instance
  /** Whether an upgrade is for this app. Never throws. */
  readonly isOurs: ServerEvents['isOurs']
  readonly lifecycle: ConnectionLifecycle
  readonly listeners: ServerListeners
  readonly names: KnownNames
  readonly dryRuns: WaitingDryRuns
  readonly opener: SocketOpener
  readonly preValidation: PreValidation
  readonly revocation: RevocationCheck
  readonly revocations: RevocationList
  /** `null` if tickets are off. */
  readonly tickets: Tickets | null
  readonly upgrades: PendingUpgrades
  readonly verifier: Verifier
  readonly waitingRoom: WaitingRoom
  readonly setUser: SetUser
  readonly drain: Drain
  readonly websocket: WebsocketSetup
}

/** Makes the parts. Three of them start something, and add the hooks that stop it at once, because a later line may throw. */
export function buildParts (app: FastifyInstance, options: CompleteOptions, jwt: FoundJwt | null): Parts {
  const { log } = app
  const { backplane, revocationTtl } = options
  const names = knownNames(app, options)
  const stats = new Stats()
  const audit = new Audit(stats)
  const pending = new Pending()
  const upgrades = new PendingUpgrades(pending, (request, why, startedAt) => audit.unanswered(request, log, why, startedAt))
  const isOurs = upgradeFilter(app, options.upgrades)
  const listeners = listen(app, options, {
    isOurs,
    onPlainHandshake: (request) => markPlain(request, names),
    onEarly: (request, socket) => upgrades.turnAway(request, socket)
  })
  const connections = new ConnectionRegistry(quietLog(log), options.roles)
  const verifier = createVerifier(app, options, jwt)
  const checks = new TokenChecksByRoute({ verifier, claimsSchema: new ClaimsSchema(options.claims) })
  const revocations = new RevocationList()
  const instance = new Instance({ backplane, connections, revocations, log, revocationTtl, hasGroups: options.groups !== undefined })
  const { link } = instance
  attend(app, link)
  const limits = new Limits(options.limits, connections, pending, createUserSlots(options, connections, link))
  const revocation = new RevocationCheck({ revocations, link, log, revocationTtl, subject: options.subject, groups: options.groups, livesWithoutExpiry: options.verify === undefined })
  const tickets = options.tickets.query === null ? null : new Tickets(link, options.tickets.ttl, verifier.rules)
  const context = { options, names, checks, limits, revocation, tickets }
  const setUser = userSetter(jwt?.userDecorator ?? null)
  const renewals = new Renewals(context, audit, setUser)
  const rechecks = startRechecks(app, options, context, setUser)
  const lifecycle = new ConnectionLifecycle({ options, checks, connections, limits, audit, renewals, rechecks, revocation, trustsProxy: trustsProxy(app) })
  const waitingRoom = new WaitingRoom({ context, limits, audit, lifecycle, setUser }, pending)
  const websocket = websocketSetup(app, options, names, listeners.relay)
  const acceptAndClose = new AcceptAndClose(websocket.protocols.choose, options.limits.pending)
  const dryRuns = new WaitingDryRuns(pending, audit, options.handshakeTimeout)
  const preValidation = new PreValidation({ context, audit, dryRuns, setUser, acceptAndClose })
  const inspector = new Inspector(app, options, jwt)
  const opener = new SocketOpener(lifecycle, waitingRoom, limits, options.websocket.errorHandler !== undefined)
  const drain = new Drain(app, connections, limits)
  return { options, audit, checks, context, stats, pending, connections, drain, inspector, instance, isOurs, lifecycle, listeners, names, opener, preValidation, dryRuns, revocation, revocations, setUser, tickets, upgrades, verifier, waitingRoom, websocket }
}

/** `null` if the `recheck` option is off. */
function startRechecks (app: FastifyInstance, { recheck }: CompleteOptions, context: HandshakeContext, setUser: SetUser): Rechecks | null {
  if (recheck === null) return null
  const rechecks = new Rechecks(recheck, { context, setUser, log: app.log })
  app.addHook('onClose', (_app, done) => { rechecks.stop(); done() })
  return rechecks
}

/** The `upgrades` option, as a function that does not throw. */
function upgradeFilter (app: FastifyInstance, upgrades: CompleteOptions['upgrades']): ServerEvents['isOurs'] {
  if (upgrades === undefined) return () => true
  const lines = new SampledLines()
  return (request) => {
    try {
      const isOurs: unknown = upgrades(request)
      ignoreRejection(isOurs)
      return isOurs === true
    } catch (error) {
      // The message of an error may quote the URL, which may have a token.
      lines.write((more) => quietLog(app.log).error(more, `the "upgrades" option threw ${nameOfError(error)}: the upgrade is left to other listeners`))
      return false
    }
  }
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
