/*
 * What registering the plugin adds to Fastify's types. The `wsAuth` option of routes stands in `index.ts`, where the
 * role names are that it narrows to.
 */
import type { Connection, ConnectionList } from './connection'
import type { StatsSnapshot } from './stats'

/** The `app.wsAuth` decorator. */
export interface WsAuth {
  /** The open connections of this instance. */
  readonly connections: ConnectionList
  /** What happened since the start. */
  stats (): StatsSnapshot
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Open connections and counts of fastify-ws-auth. */
    wsAuth: WsAuth
  }

  interface FastifyRequest {
    /** The connection, in the handler of a guarded websocket route; `null` anywhere else. */
    wsAuth: Connection | null
  }
}
