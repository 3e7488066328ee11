/*
 * endpoints/ has the plain HTTP routes that the plugin adds. It may import every folder except plugin/. Start with
 * `addLogoutRoute` here, or with `addTicketRoute` in ticket.ts.
 *
 * This file is the route of OpenID Connect Back-Channel Logout 1.0: the provider posts a logout token when a user logs out
 * there, and the user's tokens are revoked here.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { withDeadline } from '../base/deadline'
import { WsAuthError } from '../base/errors'
import { isHttp2 } from '../base/http-headers'
import { quietLog } from '../base/quiet-log'
import { SampledLines } from '../base/sampled-lines'
import type { CompleteOptions } from '../options/complete-options'
import type { BackChannelLogoutOptions } from '../options/public-options'
import type { Instance } from '../revocation/instance'
import { verified } from '../token/verifier'
import type { Verifier } from '../token/verifier'
import { logoutRefusal, readLogout, readLogoutToken } from './logout-token'
import { PendingRequests } from './pending-requests'
import { wasUsed } from './used-tokens'

const WAS_USED = 'its jti was used before'
/** For the events and the log lines of the connections that are closed. */
const ORIGIN = { by: 'backChannelLogout', why: 'the user has logged out at the provider' }

/** The objects that the route works with. */
export interface LogoutRouteDependencies {
  readonly options: CompleteOptions
  readonly verifier: Verifier
  readonly instance: Instance
}

/** Adds the route, in a scope of its own, because the parsers of the scope accept nothing but forms. */
export async function addLogoutRoute (app: FastifyInstance, logout: BackChannelLogoutOptions, dependencies: LogoutRouteDependencies): Promise<void> {
  const { options, verifier } = dependencies
  if (logout.audience === undefined && !verifier.rules.required.includes('aud')) {
    app.log.warn('"backChannelLogout.audience" should be the client id: logout tokens for other clients are accepted')
  }
  const pending = new PendingRequests(options.limits.pending)
  const failures = new SampledLines()
  app.addHook('preClose', (done) => { pending.close(); done() })
  await app.register(async (scope) => {
    acceptOnlyForms(scope)
    // A form that escapes each character of a token has three bytes for it.
    scope.post(logout.path, { bodyLimit: 3 * options.maxTokenBytes + 1024 }, async (request, reply) => {
      try {
        await pending.run(async (aborter) => await logOut(request, aborter, logout, dependencies))
        return await answer(reply, 200, '')
      } catch (error) {
        const code = reportFailure(request, error, failures)
        if (pending.isClosing && !isHttp2(request.raw)) reply.header('connection', 'close')
        // 2.8 asks for 400 even if the failure is ours.
        return await answer(reply, 400, { error: code })
      }
    })
  })
}

function acceptOnlyForms (scope: FastifyInstance): void {
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_request, body, done) => {
    done(null, new URLSearchParams(String(body)))
  })
}

async function answer (reply: FastifyReply, code: number, body: unknown): Promise<FastifyReply> {
  return await reply.code(code).header('cache-control', 'no-store').send(body)
}

/** Logs the failure, because the response does not tell it. @returns the `error` of the response (RFC 6749, 5.2) */
function reportFailure (request: FastifyRequest, error: unknown, failures: SampledLines): string {
  const { code, cause } = error instanceof WsAuthError ? error : new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: error })
  const log = quietLog(request.log)
  if (code === 'WS_AUTH_UNAVAILABLE') {
    failures.write((more) => log.error({ err: cause, ...more }, 'back-channel logout failed'))
    return 'temporarily_unavailable'
  }
  log.info({ why: cause instanceof Error ? cause.message : cause ?? code }, 'back-channel logout refused')
  return 'invalid_request'
}

async function logOut (request: FastifyRequest, aborter: AbortController, logout: BackChannelLogoutOptions, { options, verifier, instance }: LogoutRouteDependencies): Promise<void> {
  const token = readLogoutToken(request.body, options.maxTokenBytes)
  const answer = (async () => await verified(verifier.verify(token, request, aborter)))()
  const { claims } = await withDeadline(answer, options.handshakeTimeout, 'the verification').finally(() => aborter.abort())
  const { match, name, ttl } = readLogout(claims, logout, options.subject)
  const { link } = instance
  if (await wasUsed(link, name)) throw logoutRefusal(WAS_USED)
  // Revokes before it remembers the jti, so that the provider can repeat a logout that failed. Revoking twice does no harm.
  await instance.revoke(match, ORIGIN)
  if (!await link.put(name, '', ttl)) throw logoutRefusal(WAS_USED)
}
