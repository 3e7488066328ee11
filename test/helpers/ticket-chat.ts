/*
 * A chat with tickets: how one is got, how one is used, and what a handshake or a dry run is answered with.
 */
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Test } from 'tap'
import type { Backplane, BackplaneLink, BackplaneMember } from '../../lib/backplane/contract'
import type fastifyWsAuth from '../../lib/index'
import { memoryBackplane } from '../../lib/backplane/memory'
import { sign, start } from './app'
import type { AppSettings, StartedApp } from './app'
import { moveClock } from './moved-clock'
import type { MovedClock } from './moved-clock'
import { upgrade } from './raw-client'
import type { RawClient } from './raw-client'
import type { RequestSettings } from './raw-client'

export type Options = fastifyWsAuth.WsAuthOptions

export const ANN = { sub: 'ann', roles: ['member'] }
export const TICKET = /^[\w-]{43}$/
export const TTL = 30_000
export const never = async (): Promise<never> => await new Promise(() => {})

export function bearer (claims: Record<string, unknown> = ANN): { authorization: string } {
  return { authorization: `Bearer ${sign(claims)}` }
}

/** Seconds since the epoch, as claims have it. */
export function seconds (offset = 0): number {
  return Math.floor(Date.now() / 1000) + offset
}

export interface Chat extends StartedApp {
  /** The requests that got as far as a handler. */
  readonly opened: FastifyRequest[]
  /** A ticket of these claims. */
  ticket: (claims?: object, binding?: fastifyWsAuth.TicketBinding) => Promise<string>
}

type ChatSettings = AppSettings & { wsAuth?: fastifyWsAuth.RouteWsAuth }

export function addChat (app: FastifyInstance, opened: FastifyRequest[], wsAuth: fastifyWsAuth.RouteWsAuth = true): void {
  const handler = (_socket: unknown, request: FastifyRequest): void => { opened.push(request) }
  app.get('/chat', { websocket: true, wsAuth }, handler)
  app.get('/other', { websocket: true }, handler)
  app.get('/optional', { websocket: true, wsAuth: 'optional' }, handler)
  app.get('/public', { websocket: true, wsAuth: false }, handler)
  app.get('/plain', async () => 'plain')
}

export async function startChat (t: Test, plugin: Options = {}, { wsAuth, ...settings }: ChatSettings = {}): Promise<Chat> {
  const opened: FastifyRequest[] = []
  const started = await start(t, {
    ...settings,
    plugin: { tickets: true, ...plugin },
    routes: async (app) => { await settings.routes?.(app); addChat(app, opened, wsAuth) }
  })
  return { ...started, opened, ticket: async (claims = ANN, binding) => (await started.app.wsAuth.issueTicket(claims, binding)).ticket }
}

/** A chat whose clock is moved, also by which its tickets are kept. */
export async function startTimedChat (t: Test, plugin: Options = {}): Promise<Chat & { clock: MovedClock }> {
  let clock: MovedClock | null = null
  const chat = await startChat(t, plugin, { before: () => { clock = moveClock(t) } })
  return { ...chat, clock: clock as unknown as MovedClock }
}

/** The body of a refusal, in short. */
function codeIn (body: string): string {
  return body === '' ? '' : String((JSON.parse(body) as { code?: string }).code)
}

/** How a handshake was answered: `101`, or the status and the code. */
export async function handshake (t: Test, port: number, path: string, settings: RequestSettings = {}): Promise<string> {
  const { status, body } = (await upgrade(t, port, { ...settings, path })).answer
  return status === 101 ? '101' : `${status} ${codeIn(body)}`
}

export async function dryRun (app: FastifyInstance, url: string, headers: Record<string, string> = {}): Promise<string> {
  const { statusCode, body } = await app.inject({ url, headers })
  return statusCode === 426 ? '426' : `${statusCode} ${codeIn(body)}`
}

export async function ask (app: FastifyInstance, headers: Record<string, string> = bearer(), payload?: object | string, url = '/ws-ticket'): Promise<{ status: number, code: string, ticket: string, expiresIn: number, headers: Record<string, unknown> }> {
  const response = await app.inject({ method: 'POST', url, headers, ...(payload === undefined ? {} : { payload }) })
  const { code, ticket, expiresIn } = response.json()
  return { status: response.statusCode, code, ticket, expiresIn, headers: response.headers }
}

/** The close frame that a client gets next. */
export async function closeOf (client: RawClient): Promise<string> {
  for (;;) {
    const { opcode, payload } = await client.frame()
    if (opcode === 8) return `${payload.readUInt16BE(0)} ${payload.subarray(2).toString()}`
  }
}

/** A backplane that keeps its contract but for this. */
export function backplaneWith (over: Partial<BackplaneLink>): Backplane {
  const memory = memoryBackplane()
  return { join: (member) => ({ ...memory.join(member), ...over }) }
}

/** An instance that has nothing but its link. */
export function nobody (): BackplaneMember {
  return { id: 'nobody', log: Fastify().log, apply: () => 0, revocations: () => [], onOutage: () => {} }
}
