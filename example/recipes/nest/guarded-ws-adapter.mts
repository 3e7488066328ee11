/*
 * An adapter for gateways. It declares each gateway as a websocket route of Fastify, so that fastify-ws-auth guards it. The WsAdapter of
 * Nest answers upgrades itself, and authenticates none.
 */
import { EventEmitter } from 'node:events'
import type { NestFastifyApplication } from '@nestjs/platform-fastify'
import { WsAdapter } from '@nestjs/platform-ws'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { WebSocket } from 'fastify-ws-auth'

/** The options of `@WebSocketGateway`. `wsAuth` is that of the route, and `true` by default. */
export type GatewayOptions = { path: string, wsAuth?: unknown }

export class GuardedWsAdapter extends WsAdapter {
  readonly #fastify: FastifyInstance

  constructor (app: NestFastifyApplication) {
    super(app)
    this.#fastify = app.getHttpAdapter().getInstance() as unknown as FastifyInstance
  }

  override create (_port: number, { path, wsAuth = true }: GatewayOptions): any {
    const server = new EventEmitter()
    const options = { websocket: true, wsAuth } as const
    this.#fastify.get(path, options as object, ((socket: WebSocket, request: FastifyRequest) => { server.emit('connection', socket, request) }) as never)
    return server
  }

  /** The plugin closes the connections, and refuses new ones, when the app closes. */
  override async close (): Promise<void> {}
}
