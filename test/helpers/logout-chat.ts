/*
 * A chat of an issuer that logs its users out, and the logout tokens that the issuer posts.
 */
import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { keys, mint, seconds } from './keys'
import { AUDIENCE } from './provider'
import { plainText, RawClient } from './raw-client'
import { eventually, startChat } from './renewal-app'
import type { Chat, ChatApp, ChatSettings } from './renewal-app'

export const PATH = '/backchannel-logout'
export const ISSUER = 'https://issuer.example'
export const CLIENT = 'client'
export const EVENT = 'http://schemas.openid.net/event/backchannel-logout'
export const OTHER_EVENT = 'http://schemas.openid.net/secevent/caep/event-type/session-revoked'
export const FORM = 'application/x-www-form-urlencoded'
export const { memoryBackplane } = fastifyWsAuth
export const { public: publicKey, private: privateKey } = keys.RS256

/** How a logout is answered. */
export const LOGGED_OUT = { status: 200, body: '', cacheControl: 'no-store' }
export const INVALID = { status: 400, body: '{"error":"invalid_request"}', cacheControl: 'no-store' }
export const TRY_AGAIN = { status: 400, body: '{"error":"temporarily_unavailable"}', cacheControl: 'no-store' }
export const REVOKED = { code: 3000, reason: 'token_revoked' }

export type Claims = Record<string, unknown>
export type Plugin = fastifyWsAuth.WsAuthOptions
type Answer = typeof LOGGED_OUT

/** The claims of a good logout token. What is `undefined` is left out. */
export function logoutClaims (claims: Claims = {}): Claims {
  const jti = randomBytes(8).toString('hex')
  return { iss: ISSUER, aud: CLIENT, iat: seconds(), exp: seconds(120), jti, sub: 'ann', sid: 'first', events: { [EVENT]: {} }, ...claims }
}

/** A good logout token, but for what is given. */
export function logoutToken (claims: Claims = {}, header: Claims = {}): string {
  return mint(logoutClaims(claims), { typ: 'logout+jwt', ...header }, 'RS256')
}

/** An access token of Ann's first login, but for what is given; from a minute ago. */
export function accessToken (claims: Claims = {}): string {
  return mint({ iss: ISSUER, aud: AUDIENCE, iat: seconds(-60), exp: seconds(600), sub: 'ann', sid: 'first', ...claims }, { typ: 'at+jwt' }, 'RS256')
}

export const JWT: NonNullable<Plugin['jwt']> = {
  secret: { public: publicKey, private: privateKey },
  verify: { algorithms: ['RS256'], allowedIss: ISSUER, allowedAud: [AUDIENCE, CLIENT] }
}
const LOGOUT = { path: PATH, issuer: ISSUER, audience: CLIENT }

export interface LogoutSettings extends ChatSettings {
  logout?: Partial<NonNullable<Exclude<Plugin['backChannelLogout'], false>>>
}

/** A chat of an issuer whose key is known. */
export async function startClient (t: Test, { plugin, logout, ...settings }: LogoutSettings = {}): Promise<ChatApp> {
  return await startChat(t, { ...settings, plugin: { ...plugin?.verify === undefined ? { jwt: JWT } : {}, backChannelLogout: { ...LOGOUT, ...logout }, ...plugin } })
}

export async function post (port: number, body: RequestInit['body'], contentType: string | null = FORM, path = PATH): Promise<Answer> {
  const headers: Record<string, string> = contentType === null ? {} : { 'content-type': contentType }
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method: 'POST', body, headers })
  return { status: response.status, body: await response.text(), cacheControl: response.headers.get('cache-control') ?? '' }
}

export async function logOut (port: number, token: string): Promise<Answer> {
  return await post(port, new URLSearchParams({ logout_token: token }).toString())
}

export async function isClosed ({ closed }: Chat): Promise<Chat['closed']> {
  await eventually(() => closed.code !== null, 'the connection is closed')
  return closed
}

/** Why something was refused, as the log says it. */
export function reasonsIn (log: readonly string[]): string[] {
  return log.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'back-channel logout refused').map(({ why }) => why)
}

/** How many lines of the log say something. */
export function countIn (log: readonly string[], text: string): number {
  return log.filter((line) => line.includes(text)).length
}

export async function refusalOf (port: number, token: string): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}/chat`, { headers: { authorization: `Bearer ${token}` } })
  return response.status === 426 ? 'none' : (await response.json() as { code: string }).code
}

export async function sendForm (t: Test, port: number, body: string): Promise<RawClient> {
  const client = await RawClient.open(t, port)
  return client.send(plainText({ method: 'POST', path: PATH, headers: { 'content-type': FORM, 'content-length': String(body.length) }, body }))
}
