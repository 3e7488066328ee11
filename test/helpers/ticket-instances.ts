/*
 * Instances of an app that share their tickets in a Redis.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { RedisOptions } from 'ioredis'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { redisBackplane } from '../../lib/backplane/redis/index'
import { keysOf } from '../../lib/backplane/redis/keys'
import { sign, start } from './app'
import type { StartedApp } from './app'
import { upgrade } from './raw-client'
import type { RedisServer } from './redis'

export type Options = fastifyWsAuth.WsAuthOptions
export const ANN = { sub: 'ann', roles: ['member'] }
export const BEARER = { authorization: `Bearer ${sign(ANN)}` }

export interface Chat extends StartedApp {
  readonly opened: FastifyRequest[]
}

/** An instance of the app. */
export async function startInstance (t: Test, redis: RedisServer, plugin: Options = {}, options: RedisOptions = {}): Promise<Chat> {
  const opened: FastifyRequest[] = []
  const client = redis.client(options)
  if (client.status !== 'ready') await once(client, 'ready')
  const started = await start(t, {
    plugin: { tickets: true, backplane: redisBackplane({ client }), ...plugin },
    routes: (app) => {
      const handler = (_socket: unknown, request: FastifyRequest): void => { opened.push(request) }
      app.get('/chat', { websocket: true }, handler)
      app.get('/admin', { websocket: true, wsAuth: { roles: ['admin'] } }, handler)
    }
  })
  return { ...started, opened }
}

export async function startInstances (t: Test, redis: RedisServer, plugin: Options = {}): Promise<[Chat, Chat, Chat]> {
  return await Promise.all([startInstance(t, redis, plugin), startInstance(t, redis, plugin), startInstance(t, redis, plugin)])
}

export async function ticketOf ({ app }: Chat, claims: object = ANN): Promise<string> {
  return (await app.wsAuth.issueTicket(claims)).ticket
}

export async function handshake (t: Test, { port }: Chat, path: string): Promise<string> {
  const { status, body } = (await upgrade(t, port, { path })).answer
  return status === 101 ? '101' : `${status} ${codeIn(body)}`
}

export async function dryRun (app: FastifyInstance, url: string): Promise<string> {
  const { statusCode, body } = await app.inject({ url })
  return statusCode === 426 ? '426' : `${statusCode} ${codeIn(body)}`
}

export function codeIn (body: string): string {
  return String((JSON.parse(body) as { code?: string }).code)
}

/** Where a ticket is kept: under its SHA-256. */
export function keyOf (ticket: string, prefix = 'fastify-ws-auth'): string {
  return keysOf(prefix).value(`ticket:${createHash('sha256').update(ticket).digest('base64url')}`)
}
