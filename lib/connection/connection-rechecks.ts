/*
 * The rechecks of connections, as the code that opens connections sees them. They are made in a folder above this one.
 */
import type { CompleteRouteOptions } from '../options/complete-options'

/** Asks the app again about open connections; see `in-band/recheck.ts`. */
export interface ConnectionRechecks<C> {
  /** The connection is open: it is asked about from now on. Called in the async context of its request. */
  add (connection: C, route: CompleteRouteOptions): void
  /** The connection has ended. */
  remove (connection: C): void
}
