/*
 * OpenID Connect Back-Channel Logout 1.0: the provider posts a logout token when somebody has logged out there, and what
 * they have open here is closed.
 */
import { createHash } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { BackplaneLink } from '../backplane/contract'
import { logoutEventOf } from '../token/claims'
import type { Claims } from '../token/claims'
import { withDeadline } from '../base/deadline'
import { WsAuthError } from '../base/errors'
import type { Instance } from '../revocation/instance'
import type { RevokeMatch } from '../revocation/command-arguments'
import { isHttp2 } from '../base/http-headers'
import { isObject } from '../base/checks'
import type { BackChannelLogoutOptions, CompleteOptions } from '../options/options'
import { quietLog } from '../base/quiet-log'
import type { Verifier } from '../token/verifier'

/** How long a logout token without an `exp` is accepted, in milliseconds. */
const MAX_AGE = 300_000
/** How long a `jti` is remembered at the most, in milliseconds. */
const MAX_MEMORY = 86_400_000

/** How long a logout under way may take once the server is closing, in milliseconds. */
const GOODBYE_TIMEOUT = 3000

const WAS_USED = 'its jti was used before'

/** What the route works with. */
export interface LogoutRouteParts {
  readonly options: CompleteOptions
  readonly verifier: Verifier
  readonly instance: Instance
}

/** Adds the route. In a scope of its own, which alone understands forms. */
export async function addLogoutRoute (app: FastifyInstance, logout: BackChannelLogoutOptions, parts: LogoutRouteParts): Promise<void> {
  const { options, verifier } = parts
  if (logout.audience === undefined && !verifier.rules.required.includes('aud')) {
    app.log.warn('"backChannelLogout.audience" should be the client id: logout tokens for other clients are accepted')
  }
  const ends = new Set<() => void>()
  let isClosing = false
  app.addHook('preClose', (done) => {
    isClosing = true
    setTimeout(() => { for (const end of ends) end() }, GOODBYE_TIMEOUT).unref()
    done()
  })
  await app.register(async (scope) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_request, body, done) => {
      done(null, new URLSearchParams(String(body)))
    })
    // A token in a form is three times as long where each of its characters is escaped.
    scope.post(logout.path, { bodyLimit: 3 * options.maxTokenBytes + 1024 }, async (request, reply) => {
      try {
        await endable(ends, async (aborter) => await logOut(request, aborter, logout, parts))
        return await answer(reply, 200, '')
      } catch (error) {
        const { code, cause } = error instanceof WsAuthError ? error : new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: error })
        const isTheirs = code !== 'WS_AUTH_UNAVAILABLE'
        const log = quietLog(request.log)
        if (isTheirs) log.info({ why: cause instanceof Error ? cause.message : cause ?? code }, 'back-channel logout refused')
        else log.error({ err: cause }, 'back-channel logout failed')
        // Nothing more is to come this way.
        if (isClosing && !isHttp2(request.raw)) reply.header('connection', 'close')
        // 2.8: also where it failed for reasons of our own.
        return await answer(reply, 400, { error: isTheirs ? 'invalid_request' : 'temporarily_unavailable' })
      }
    })
  })
}

async function answer (reply: FastifyReply, code: number, body: unknown): Promise<FastifyReply> {
  return await reply.code(code).header('cache-control', 'no-store').send(body)
}

/** What something resolves to, or a rejection where it is ended before. */
async function endable<T> (ends: Set<() => void>, run: (aborter: AbortController) => Promise<T>): Promise<T> {
  const aborter = new AbortController()
  return await new Promise<T>((resolve, reject) => {
    const end = (): void => {
      aborter.abort()
      reject(new Error('the server is closing'))
    }
    ends.add(end)
    void run(aborter).then(resolve, reject).finally(() => ends.delete(end))
  })
}

async function logOut (request: FastifyRequest, aborter: AbortController, logout: BackChannelLogoutOptions, { options, verifier, instance }: LogoutRouteParts): Promise<void> {
  const token = readLogoutToken(request.body, options.maxTokenBytes)
  const verified = (async () => await verifier.verify(token, request, aborter))()
  const { claims } = await withDeadline(verified, options.handshakeTimeout, 'the verification').finally(() => aborter.abort())
  const { match, name, ttl } = readLogout(claims, logout)
  const { link } = instance
  if (await isRemembered(link, name)) throw refusal(WAS_USED)
  // Before the jti is: what fails, or ends with the process, can be tried again. To revoke the same twice is no harm.
  await instance.revoke(match)
  if (!await link.put(name, '', ttl)) throw refusal(WAS_USED)
}

/** Where the store does not answer, it may not be: few providers try again, and what is open here can be closed without it. */
async function isRemembered (link: BackplaneLink, name: string): Promise<boolean> {
  try {
    return await link.get(name) !== null
  } catch {
    return false
  }
}

/** 2.5: one parameter of a form. */
function readLogoutToken (body: unknown, maxBytes: number): string {
  const [token, another] = body instanceof URLSearchParams ? body.getAll('logout_token') : []
  if (token === undefined || token === '' || another !== undefined) throw refusal('the form has no logout_token, or more than one')
  if (Buffer.byteLength(token) > maxBytes) throw refusal('it is longer than maxTokenBytes')
  return token
}

/** 2.4 and 2.6: what makes a verified token a logout token. */
function readLogout (claims: Claims, { issuer, audience, match }: BackChannelLogoutOptions): { match: RevokeMatch, name: string, ttl: number } {
  const { iss, aud, iat, exp, jti, sub, sid } = claims
  if (!isObject(logoutEventOf(claims))) throw refusal('its events are not those of a logout')
  if (Object.hasOwn(claims, 'nonce')) throw refusal('it has a nonce')
  if (iss !== issuer) throw refusal('it is of another iss')
  if (!isFor(aud, audience)) throw refusal('it is for another aud')
  if (typeof iat !== 'number') throw refusal('it has no iat')
  if (typeof jti !== 'string' || jti === '') throw refusal('it has no jti')
  const now = Date.now()
  const untilAt = exp === undefined ? iat * 1000 + MAX_AGE : exp * 1000
  if (untilAt <= now) throw refusal('it was issued too long ago')
  const name = `logout:${createHash('sha256').update(JSON.stringify([iss, jti])).digest('base64url')}`
  // A minute more, for the tolerance of clocks.
  const ttl = Math.ceil(Math.min(untilAt - now + 60_000, MAX_MEMORY))
  const hasSid = typeof sid === 'string' && sid !== ''
  const hasSub = typeof sub === 'string' && sub !== ''
  if (hasSid && (match !== 'sub' || !hasSub)) return { match: { sid }, name, ttl }
  if (!hasSub) throw refusal('it has neither a sub nor a sid')
  // What the user has got since then is another login.
  return { match: { sub, beforeAt: iat * 1000 }, name, ttl }
}

/** Without an `audience` it is the verifier that knows whom it may be for; it is for somebody. */
function isFor (aud: unknown, audience: string | undefined): boolean {
  const names = [aud].flat()
  return audience === undefined ? names.some((name) => typeof name === 'string' && name !== '') : names.includes(audience)
}

function refusal (cause: string): WsAuthError {
  return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause })
}
