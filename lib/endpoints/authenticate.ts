/*
 * The hook that guards plain routes of the app with the tokens, the revocations and the refusals of its websockets.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Authentication } from '../authentication/authentication'
import type { AuthenticationContext } from '../authentication/authentication'
import { TOKEN_STEPS, USER_STEPS } from '../authentication/checks'
import type { SetUser } from '../authentication/identity'
import { runSteps } from '../authentication/steps'
import type { Step } from '../authentication/steps'
import { withDeadline } from '../base/deadline'
import { WsAuthError } from '../base/errors'
import { quietLog } from '../base/quiet-log'
import { readCredential } from '../credentials/choose'
import { NONE } from '../credentials/found'
import { findHeaders } from '../credentials/headers'
import { reasonOfMissing } from '../credentials/near-misses'
import { addAdvice } from '../handshake/answer'
import { assertOriginOf } from '../handshake/origin'
import { hasOwnPolicy } from '../handshake/routes'
import type { CompleteRouteOptions } from '../options/complete-options'
import { readRouteOptions } from '../options/read-route-options'

/** A hook of a plain route: `onRequest`, `preValidation` or `preHandler`. */
export type AuthenticateHook = (request: FastifyRequest, reply: FastifyReply) => Promise<void>

/** A plain request carries nothing but its headers: a token in its URL would be in the log already. */
const NO_CREDENTIALS = { query: NONE, lookalikes: NONE, param: null, subprotocol: NONE, hasValidProtocols: true }

const STEPS: ReadonlyArray<Step<Authentication, AuthenticationContext>> = [readToken, checkCookieOrigin, ...TOKEN_STEPS, ...USER_STEPS]

/**
 * Makes the hook. It leaves the token where it is, because other hooks of a plain route may use it. It lets pass what is authenticated by its
 * own policy, so that an app may add it for all of its routes: handshakes, dry runs, and the requests of the ticket route.
 */
export function authenticateHook (context: AuthenticationContext, setUser: SetUser): AuthenticateHook {
  const { handshakeTimeout } = context.options
  const route = readRouteOptions({ token: { query: false, subprotocol: false, param: false, message: false } }, context.options)
  return (request, reply) => {
    if (reply?.raw === undefined) throw new TypeError('app.wsAuth.authenticate must be given as a hook, and not called: { onRequest: app.wsAuth.authenticate }')
    return hasOwnPolicy(request) ? Promise.resolve() : authenticate(request, reply)
  }

  async function authenticate (request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const attempt = new Authentication(request, route, null)
    let isGone = false
    const onClose = (): void => {
      isGone = true
      attempt.abort()
    }
    reply.raw.once('close', onClose)
    const refusal = await refusalOf(attempt, context, handshakeTimeout)
    reply.raw.removeListener('close', onClose)
    // There is no client to answer.
    if (isGone) {
      reply.hijack()
      return
    }
    const verdict = refusal ?? setUser(request, attempt.user)
    if (verdict !== null) refuse(verdict, attempt, reply, route)
  }
}

async function refusalOf (attempt: Authentication, context: AuthenticationContext, timeout: number): Promise<WsAuthError | null> {
  try {
    return await withDeadline((async () => await runSteps(attempt, context, STEPS))(), timeout, 'the verification')
  } catch (error) {
    attempt.abort()
    return new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: error })
  }
}

function readToken (attempt: Authentication): void {
  const { request, route } = attempt
  attempt.credential = readCredential(request, route.token, NO_CREDENTIALS, findHeaders(request, route.token), null)
  if (attempt.credential === null) throw new WsAuthError('WS_AUTH_TOKEN_MISSING', { cause: reasonOfMissing(request, route.token, NO_CREDENTIALS) })
}

/** A cookie counts only from a page that a handshake would admit. */
function checkCookieOrigin ({ request, route, credential }: Authentication): void | PromiseLike<void> {
  return credential?.source === 'cookie' ? assertOriginOf(request, route.origin, credential, true) : undefined
}

function refuse (refusal: WsAuthError, { source, sub }: Authentication, reply: FastifyReply, { scopes }: CompleteRouteOptions): never {
  const { code, cause, statusCode } = refusal
  const log = quietLog(reply.request.log)
  if (statusCode >= 500) log.error({ code, source, sub, err: cause ?? refusal }, 'request refused')
  else log.info({ code, source, sub, why: cause instanceof Error ? cause.message : cause }, 'request refused')
  addAdvice(reply, code, scopes)
  throw refusal
}
