/*
 * Signs a token with the key of the app itself, and puts it where the app looks for one.
 */
import type { FastifyInstance } from 'fastify'
import type { CompleteOptions } from '../options/complete-options'
import type { AnyApp } from './app'
import { assertNoMore, readArgument } from '../base/checks'
import { HTTP_TOKEN } from '../base/grammar'
import { findJwt } from '../plugin/jwt'
import type { FoundJwt } from '../plugin/jwt'
import { partsOf } from '../plugin/running-apps'

/** How {@link signIn} signs. */
export interface SignInOptions {
  /**
   * How many milliseconds the token is good, rounded up to a second; negative for a token that has expired, `Infinity` for none.
   * Default: `expiresIn` of the `sign` options of @fastify/jwt, else one hour. An `exp` among the claims comes first.
   */
  readonly expiresIn?: number
  /** Where `headers` have the token. Default: the first of these that the plugin option `token` has on. */
  readonly via?: 'header' | 'subprotocol' | 'cookie'
  /** Signs in place of @fastify/jwt: for an app with `verify`, or with public keys alone. */
  readonly sign?: (claims: Record<string, unknown>) => string | Promise<string>
}

/** A user with a token. Only `headers` is enumerable, so that the whole can be given, or spread into, the options of a request. */
export interface SignedIn {
  /** For `injectWS`, `inject`, `fetch` and `new WebSocket` of ws. Empty if the app takes tokens from none of the three places. */
  readonly headers: Record<string, string>
  readonly token: string
  /** The `Cookie` header with the token, or `null` if the app has no cookie. */
  readonly cookie: string | null
  /** For a `WebSocket` that takes no headers, as its second argument; `null` if the app takes no token from there. */
  readonly subprotocols: readonly string[] | null
}

const HOUR = 3_600_000

/**
 * Signs a token for a user of an app, after `app.ready()`: `await app.injectWS('/chat', await signIn(app, { sub: 'ann' }))`.
 *
 * @param claims those of the token. Default of `iat`: now; of `iss` and `aud`: those that the app demands
 * @throws TypeError if fastify-ws-auth is not registered in the app, if the app cannot sign, and for wrong options
 */
export async function signIn (app: AnyApp, claims: object = {}, options: SignInOptions = {}): Promise<SignedIn> {
  const { expiresIn, via, sign, ...rest } = readArgument('options', options) as SignInOptions
  assertNoMore('options', rest, ['expiresIn', 'via', 'sign'])
  await Object(app).ready?.()
  const fastify = app as FastifyInstance
  const parts = partsOf(fastify)
  if (parts === undefined) throw new TypeError('"app" must be a Fastify app in which fastify-ws-auth is registered')
  const token = await signed(fastify, parts.options, readArgument('claims', claims), { ...expiresIn !== undefined && { expiresIn }, ...sign && { sign } })
  const places = placesOf(fastify, parts.options, token)
  if (via !== undefined && places[via] == null) throw new TypeError(`"options.via" must be a place where the app takes tokens, not '${via}'`)
  const headers = via === undefined ? places.header ?? places.subprotocol ?? places.cookie : places[via]
  return Object.defineProperties({ headers: headers ?? {} }, {
    token: { value: token },
    cookie: { value: places.cookie?.cookie ?? null },
    subprotocols: { value: places.subprotocol?.['sec-websocket-protocol']?.split(', ') ?? null }
  }) as SignedIn
}

type Jwt = FoundJwt['decorator']
type Headers = Record<string, string> | null

/** The headers for each place where the plugin looks for a token. */
function placesOf (app: FastifyInstance, { token: { header, subprotocol, cookie } }: CompleteOptions, token: string): Record<'header' | 'subprotocol' | 'cookie', Headers> {
  return {
    header: header && { [header.name]: header.bearer ? `Bearer ${token}` : token },
    subprotocol: subprotocol === null ? null : { 'sec-websocket-protocol': protocolsOf(subprotocol, token).join(', ') },
    cookie: cookie == null ? null : { cookie: `${cookie.name}=${encodeURIComponent(cookie.signed ? app.signCookie(token) : token)}` }
  }
}

/** A token with a character that no subprotocol may have is encoded. */
function protocolsOf (marker: string, token: string): string[] {
  if (HTTP_TOKEN.test(token)) return [marker, token]
  return [`base64url.${marker}.${Buffer.from(token).toString('base64url')}`, marker]
}

async function signed (app: FastifyInstance, options: CompleteOptions, given: Record<string, unknown>, { expiresIn, sign }: SignInOptions): Promise<string> {
  const jwt = sign === undefined ? signerOf(app, options) : null
  const claims: Record<string, unknown> = { iat: Math.floor(Date.now() / 1000), ...demandedBy(jwt), ...given }
  const isByApp = jwt?.options.sign.expiresIn !== undefined
  const life = expiresIn ?? (isByApp ? Infinity : HOUR)
  if (typeof life !== 'number' || Number.isNaN(life)) throw new TypeError('"options.expiresIn" must be a number of milliseconds')
  if (Number.isFinite(life)) claims.exp ??= Number(claims.iat) + (life > 0 ? Math.ceil(life / 1000) : Math.floor(life / 1000))
  if (sign !== undefined) return await sign(claims)
  try {
    // The setting of the app would replace the claim.
    return await Promise.resolve((jwt as Jwt).sign(claims as never, claims.exp === undefined ? {} : { expiresIn: Number(claims.exp) - Number(claims.iat) }))
  } catch (error) {
    throw new TypeError(`signIn() cannot sign: @fastify/jwt says "${(error as Error).message}". ${HINT}`, { cause: error })
  }
}

const HINT = 'Give it { sign: (claims) => token }'

function signerOf (app: FastifyInstance, options: CompleteOptions): Jwt {
  const found = findJwt(app, options)
  if (found === null) throw new TypeError(`signIn() cannot sign: the app has no key, because it verifies tokens with "verify". ${HINT}`)
  return found.decorator
}

/** The issuer and the audience without which the app refuses a token. */
function demandedBy (jwt: Jwt | null): Record<string, string> {
  const { allowedIss, allowedAud } = jwt?.options.verify ?? {}
  const [iss, aud] = [allowedIss, allowedAud].map((allowed) => [allowed].flat().find((name) => typeof name === 'string'))
  return { ...iss === undefined ? {} : { iss }, ...aud === undefined ? {} : { aud } }
}
