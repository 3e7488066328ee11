/*
 * A chat that receives security events, and the security event tokens of its transmitter, signed by jose.
 */
import { randomBytes } from 'node:crypto'
import type { webcrypto } from 'node:crypto'
import type { TokenOrHeader } from '@fastify/jwt'
import type { Test } from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { seconds } from './keys'
import { startChat } from './renewal-app'
import type { ChatApp, ChatSettings } from './renewal-app'

export const PATH = '/events'
export const ISSUER = 'https://issuer.example'
export const RECEIVER = 'https://chat.example/events'
export const API = 'chat'
export const REVOKED = { code: 3000, reason: 'token_revoked' }
const SCHEMAS = 'https://schemas.openid.net/secevent'
export const TYPES = {
  'session-revoked': `${SCHEMAS}/caep/event-type/session-revoked`,
  'credential-change': `${SCHEMAS}/caep/event-type/credential-change`,
  'account-disabled': `${SCHEMAS}/risc/event-type/account-disabled`,
  'account-purged': `${SCHEMAS}/risc/event-type/account-purged`,
  verification: `${SCHEMAS}/ssf/event-type/verification`
}
export const LOGOUT = 'http://schemas.openid.net/event/backchannel-logout'

export type Claims = Record<string, unknown>
export type Plugin = fastifyWsAuth.WsAuthOptions
type Algorithm = 'RS256' | 'ES256'
interface KeyPair { readonly privateKey: webcrypto.CryptoKey, readonly publicKey: webcrypto.CryptoKey }

/** A key that the receiver does not know, for each algorithm. */
const forgers = new Map<Algorithm, Promise<KeyPair>>()
let pairs: Promise<Record<Algorithm, KeyPair & { pem: string }>> | undefined

/** The keys of the transmitter, made once for the process. */
async function keyPairs (): Promise<Record<Algorithm, KeyPair & { pem: string }>> {
  pairs ??= (async () => {
    const { exportSPKI, generateKeyPair } = await import('jose')
    const make = async (algorithm: Algorithm): Promise<KeyPair & { pem: string }> => {
      const pair = await generateKeyPair(algorithm, { extractable: true })
      return { ...pair, pem: await exportSPKI(pair.publicKey) }
    }
    return { RS256: await make('RS256'), ES256: await make('ES256') }
  })()
  return await pairs
}

export async function pemOf (algorithm: Algorithm): Promise<string> {
  return (await keyPairs())[algorithm].pem
}

/** Signs any claims with the key of the transmitter, or with another. */
export async function signed (claims: Claims, header: Claims = {}, algorithm: Algorithm = 'RS256', isForged = false): Promise<string> {
  const { generateKeyPair, SignJWT } = await import('jose')
  if (isForged && !forgers.has(algorithm)) forgers.set(algorithm, generateKeyPair(algorithm))
  const { privateKey } = isForged ? await (forgers.get(algorithm) as Promise<KeyPair>) : (await keyPairs())[algorithm]
  const kept = Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined))
  return await new SignJWT(kept).setProtectedHeader({ alg: algorithm, kid: algorithm, ...header } as { alg: string }).sign(privateKey)
}

/** The claims of a good event about Ann. What is `undefined` is left out. */
export function eventClaims (claims: Claims = {}, payload: Claims = {}): Claims {
  return {
    iss: ISSUER,
    aud: RECEIVER,
    iat: seconds(),
    jti: randomBytes(8).toString('hex'),
    sub_id: { format: 'iss_sub', iss: ISSUER, sub: 'ann' },
    events: { [TYPES['session-revoked']]: payload },
    ...claims
  }
}

/** A good security event token, but for what is given. */
export async function eventToken (claims: Claims = {}, payload: Claims = {}, header: Claims = {}, algorithm: Algorithm = 'RS256'): Promise<string> {
  return await signed(eventClaims(claims, payload), { typ: 'secevent+jwt', ...header }, algorithm)
}

/** An access token of Ann, from a minute ago. */
export async function accessToken (claims: Claims = {}): Promise<string> {
  return await signed({ iss: ISSUER, aud: API, iat: seconds(-60), exp: seconds(600), sub: 'ann', sid: 'first', ...claims }, { typ: 'at+jwt' })
}

export async function jwtOptions (): Promise<NonNullable<Plugin['jwt']>> {
  return { secret: { public: await pemOf('RS256') }, verify: { algorithms: ['RS256'], allowedIss: ISSUER, allowedAud: API, maxAge: 3600, requiredClaims: ['sub'] } as object }
}

/** Keys that are fetched, by the `kid`. */
export async function fetchedOptions (): Promise<NonNullable<Plugin['jwt']>> {
  const keys = new Map([['RS256', await pemOf('RS256')], ['ES256', await pemOf('ES256')]])
  const kidOf = (token: TokenOrHeader): string => String(('header' in token ? token.header : token).kid)
  return {
    secret: { public: (async (_request: unknown, token: TokenOrHeader) => keys.get(kidOf(token))) as never, private: 'unused' },
    decode: { complete: true },
    verify: { algorithms: ['RS256', 'ES256'], allowedIss: ISSUER, allowedAud: API }
  }
}

export interface SignalsSettings extends ChatSettings {
  signals?: Partial<Exclude<Plugin['signals'], false>>
}

export async function startReceiver (t: Test, { plugin, signals, ...settings }: SignalsSettings = {}): Promise<ChatApp> {
  return await startChat(t, {
    ...settings,
    plugin: {
      ...plugin?.verify === undefined ? { jwt: await jwtOptions() } : {},
      signals: { path: PATH, issuer: ISSUER, audience: RECEIVER, ...signals },
      ...plugin
    }
  })
}

export interface PostAnswer {
  readonly status: number
  readonly body: string
  readonly headers: Headers
}

export async function post (port: number, body: RequestInit['body'], contentType = 'application/secevent+jwt', path = PATH): Promise<PostAnswer> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method: 'POST', body, headers: { 'content-type': contentType, accept: 'application/json' } })
  return { status: response.status, body: await response.text(), headers: response.headers }
}

/** The status of an answer, with its error code if it has one. */
export async function send (port: number, body: RequestInit['body']): Promise<string> {
  const answer = await post(port, body)
  return answer.status === 400 ? `400 ${(JSON.parse(answer.body) as { err: string }).err}` : String(answer.status)
}

/** Lines of the log about security events. */
export function linesIn (log: readonly string[], msg: string): Array<Record<string, unknown>> {
  return log.map((line) => JSON.parse(line) as Record<string, unknown>).filter((line) => line.msg === msg)
}
