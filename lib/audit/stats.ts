/*
 * Counts of decisions since the start, for dashboards and for alerts on guessed tokens: of the app, and of each websocket route.
 */
import { CLOSE_REASONS } from '../base/close-codes'
import type { CloseReason } from '../base/close-codes'
import { wsAuthErrors } from '../base/errors'
import type { WsAuthErrorCode } from '../base/errors'
import type { CompleteRouteOptions } from '../options/complete-options'
import { HANDSHAKE_BOUNDS, Histogram, LIFE_BOUNDS, measure } from './histogram'
import type { HistogramSnapshot, Measured } from './histogram'

/** How long things took, in milliseconds. The bounds are fixed. */
export interface Durations {
  /** Handshakes that were accepted, from the upgrade request to the open connection; the wait for a first message is part of it. */
  readonly accepted: HistogramSnapshot
  /** Handshakes that were refused, first messages among them. Dry runs, ticket requests and renewals are in no histogram. */
  readonly refused: HistogramSnapshot
  /** Connections that have ended, from their opening to their end. */
  readonly closed: HistogramSnapshot
}

/** The counts of one websocket route, by its path. */
export interface RouteStats {
  /** Connections on this instance that are open now. */
  readonly connections: number
  /** Connections that were opened. A public route has none. */
  readonly accepted: number
  /** Renewals that were accepted. */
  readonly renewed: number
  /** Refused handshakes, first messages and renewals, by code. Each code is present, from 0. Dry runs do not count. */
  readonly refused: Readonly<Record<WsAuthErrorCode, number>>
  /** Connections that have ended, by reason. Each reason is present, from 0. */
  readonly closed: Readonly<Record<CloseReason, number>>
  /** How long handshakes took and connections lived. */
  readonly durations: Durations
}

/** A snapshot of {@link Stats}. */
export interface StatsSnapshot extends RouteStats {
  /** Handshakes that are not answered yet, connections whose first message is awaited, and plain requests (dry runs, ticket requests) that wait, now. */
  readonly pending: number
  /** Refused handshakes, first messages and renewals, and ticket requests that failed, by code. Those that reached no websocket route are in no route. */
  readonly refused: Readonly<Record<WsAuthErrorCode, number>>
  /** The same counts for each websocket route of the app, by its path as the app declared it, from 0. */
  readonly routes: Readonly<Record<string, RouteStats>>
}

/** The route that a decision is about; `null` if it reached no websocket route. */
export type CountedRoute = CompleteRouteOptions | null

/** The counts of a {@link StatsSnapshot}. */
export class Stats {
  readonly #total = new Counts()
  readonly #byRoute = new Map<CompleteRouteOptions, Counts>()
  /** Two routes with one path differ in their constraints, and count as one. */
  readonly #byPath = new Map<string, Counts>()

  /** Adds a websocket route. The counts have the routes that the app declares, and no others. */
  addRoute (path: string, route: CompleteRouteOptions): void {
    const counts = this.#byPath.get(path) ?? new Counts()
    this.#byPath.set(path, counts)
    this.#byRoute.set(route, counts)
  }

  /** @param duration of the handshake, in milliseconds */
  countAccepted (route: CountedRoute, duration: number): void {
    const measured = measure(duration, HANDSHAKE_BOUNDS)
    this.#total.countAccepted(measured)
    this.#of(route)?.countAccepted(measured)
  }

  countRenewed (route: CountedRoute): void {
    this.#total.renewed++
    const counts = this.#of(route)
    if (counts !== undefined) counts.renewed++
  }

  /** @param duration of the handshake, in milliseconds; `null` if none was refused */
  countRefused (route: CountedRoute, code: WsAuthErrorCode, duration: number | null): void {
    const measured = duration === null ? null : measure(duration, HANDSHAKE_BOUNDS)
    this.#total.countRefused(code, measured)
    this.#of(route)?.countRefused(code, measured)
  }

  /** @param duration of the connection, in milliseconds */
  countClosed (route: CountedRoute, reason: CloseReason, duration: number): void {
    const measured = measure(duration, LIFE_BOUNDS)
    this.#total.countClosed(reason, measured)
    this.#of(route)?.countClosed(reason, measured)
  }

  snapshot (connections: number, pending: number): StatsSnapshot {
    const routes = [...this.#byPath].map(([path, counts]) => [path, counts.snapshot(counts.connections)] as const)
    return { ...this.#total.snapshot(connections), pending, routes: Object.fromEntries(routes) }
  }

  #of (route: CountedRoute): Counts | undefined {
    return route === null ? undefined : this.#byRoute.get(route)
  }
}

/** The counts of the app, or of a route. */
class Counts {
  renewed = 0
  #accepted = 0
  #ended = 0
  readonly #refused = zeros(Object.keys(wsAuthErrors) as WsAuthErrorCode[])
  readonly #closed = zeros(CLOSE_REASONS)
  readonly #durations = { accepted: new Histogram(HANDSHAKE_BOUNDS), refused: new Histogram(HANDSHAKE_BOUNDS), closed: new Histogram(LIFE_BOUNDS) }

  countAccepted (handshake: Measured): void {
    this.#accepted++
    this.#durations.accepted.add(handshake)
  }

  countRefused (code: WsAuthErrorCode, handshake: Measured | null): void {
    this.#refused[code]++
    if (handshake !== null) this.#durations.refused.add(handshake)
  }

  countClosed (reason: CloseReason, life: Measured): void {
    this.#ended++
    this.#closed[reason]++
    this.#durations.closed.add(life)
  }

  /** Each connection that was accepted ends once. */
  get connections (): number {
    return this.#accepted - this.#ended
  }

  snapshot (connections: number): RouteStats {
    const { accepted, refused, closed } = this.#durations
    return {
      connections,
      accepted: this.#accepted,
      renewed: this.renewed,
      refused: { ...this.#refused },
      closed: { ...this.#closed },
      durations: { accepted: accepted.snapshot(), refused: refused.snapshot(), closed: closed.snapshot() }
    }
  }
}

/** A count of 0 for each name: a time series must exist before its first event, or the rate of that event is never seen. */
function zeros<Name extends string> (names: readonly Name[]): Record<Name, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<Name, number>
}
