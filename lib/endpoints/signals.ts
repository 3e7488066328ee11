/*
 * The route of OpenID Shared Signals: a transmitter posts security event tokens (RFC 8417) by push (RFC 8935) when a login ends, a
 * credential changes or an account is disabled there, and the tokens of that user are revoked here.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { withDeadline } from '../base/deadline'
import { WsAuthError } from '../base/errors'
import { isHttp2 } from '../base/http-headers'
import { quietLog } from '../base/quiet-log'
import { SampledLines } from '../base/sampled-lines'
import type { CompleteOptions } from '../options/complete-options'
import type { SignalsOptions } from '../options/public-signals-options'
import type { RevokeMatch } from '../revocation/command-arguments'
import type { Instance } from '../revocation/instance'
import type { Claims } from '../token/claims'
import { readUnverifiedEvent } from '../token/event-verifier'
import { subjectOf } from '../token/subject'
import { verified } from '../token/verifier'
import type { VerifyToken } from '../token/verifier'
import { PendingRequests } from './pending-requests'
import { SignalRefusal, toSignalRefusal } from './signal-refusal'
import { assertParties, isVerification, readSignalToken } from './signal-token'
import type { Signal } from './signal-token'
import { MAX_MEMORY, wasUsed } from './used-tokens'

/** RFC 8935, 2.1. */
const MEDIA_TYPE = 'application/secevent+jwt'
/** When a transmitter may try again after a failure, in seconds. */
const RETRY_AFTER = '10'

/** The objects that the route works with. */
export interface SignalsRouteDependencies {
  readonly options: CompleteOptions
  readonly verify: VerifyToken
  readonly instance: Instance
}

/** Adds the route, in a scope of its own, because the parsers of the scope accept nothing but security event tokens. */
export async function addSignalsRoute (app: FastifyInstance, signals: SignalsOptions, dependencies: SignalsRouteDependencies): Promise<void> {
  const pending = new PendingRequests(dependencies.options.limits.pending)
  const failures = new SampledLines()
  app.addHook('preClose', (done) => { pending.close(); done() })
  await app.register(async (scope) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser(MEDIA_TYPE, { parseAs: 'string' }, (_request, body, done) => { done(null, body) })
    scope.post(signals.path, { bodyLimit: dependencies.options.maxTokenBytes }, async (request, reply) => {
      reply.header('cache-control', 'no-store')
      try {
        await pending.run(async (aborter) => await receive(request, aborter, signals, dependencies))
        return await reply.code(202).send()
      } catch (error) {
        if (pending.isClosing && !isHttp2(request.raw)) reply.header('connection', 'close')
        return await answerFailure(request, reply, error, failures)
      }
    })
  })
}

/** 400 if the transmitter is to give up, 503 if it is to try again (RFC 8935, 2.3). */
async function answerFailure (request: FastifyRequest, reply: FastifyReply, error: unknown, failures: SampledLines): Promise<FastifyReply> {
  const log = quietLog(request.log)
  if (error instanceof SignalRefusal) {
    log.info({ err: error.code, why: error.message }, 'security event refused')
    return await reply.code(400).header('content-type', 'application/json').header('content-language', 'en').send(Buffer.from(error.body))
  }
  failures.write((more) => log.error({ err: error instanceof WsAuthError ? error.cause ?? error : error, ...more }, 'security event failed'))
  return await reply.code(503).header('retry-after', RETRY_AFTER).send()
}

/** Resolves once the events are in force on this instance, and in the backplane. @throws SignalRefusal, or any other error for a failure */
async function receive (request: FastifyRequest, aborter: AbortController, signals: SignalsOptions, { options, verify, instance }: SignalsRouteDependencies): Promise<void> {
  const { issuer, audience } = signals
  const claims = await verifyEvent(request, aborter, signals, verify, options.handshakeTimeout)
  const { signals: found, ignored, name } = readSignalToken(claims, issuer, audience)
  const { link } = instance
  const log = quietLog(request.log)
  if (await wasUsed(link, name)) {
    // The transmitter may not have got the first answer. The event is in force, and has nothing to say twice.
    log.info('security event was received before')
    return
  }
  for (const type of ignored) log.info({ type }, isVerification(type) ? 'the transmitter of security events tries this receiver' : 'security event ignored: its type is unknown')
  for (const signal of found) await apply(signal, signals, options, instance, request)
  // After the revocations, so that the transmitter can repeat an event that failed. Revoking twice does no harm.
  await link.put(name, '', MAX_MEMORY)
}

async function verifyEvent (request: FastifyRequest, aborter: AbortController, { issuer, audience }: SignalsOptions, verify: VerifyToken, timeout: number): Promise<Claims> {
  const token = typeof request.body === 'string' ? request.body.trim() : ''
  try {
    // Before any key is fetched for it.
    const { isEvent, iss, aud } = readUnverifiedEvent(token)
    if (!isEvent) throw new SignalRefusal('invalid_request', 'its typ is not secevent+jwt')
    assertParties(iss, aud, issuer, audience)
    const answer = (async () => await verified(verify(token, request, aborter)))()
    return (await withDeadline(answer, timeout, 'the verification')).claims
  } catch (error) {
    aborter.abort()
    throw toSignalRefusal(error)
  }
}

async function apply (signal: Signal, { issuer, subject }: SignalsOptions, options: CompleteOptions, instance: Instance, request: FastifyRequest): Promise<void> {
  const { name, at } = signal.event
  const match = subject === undefined
    ? matchOf(signal, issuer, options)
    : await withDeadline((async () => await subject(signal.subject, signal.event))(), options.handshakeTimeout, 'signals.subject')
  if (match === null) {
    quietLog(request.log).info({ event: name, format: signal.subject?.format }, 'security event is about no token of this app')
    return
  }
  if (typeof match !== 'object') throw new TypeError('"signals.subject" option must return a match for revoke, or null')
  const hasTime = !('jti' in match || 'sid' in match || 'kid' in match)
  await instance.revoke(hasTime ? { ...match, beforeAt: match.beforeAt ?? at } : match, { by: 'signals', why: name })
}

/** By default, the user of a subject that names the issuer. */
function matchOf ({ subject }: Signal, issuer: string, options: CompleteOptions): RevokeMatch | null {
  if (subject?.format !== 'iss_sub' || subject.iss !== issuer || subject.sub === undefined || subject.sub === '') return null
  const sub = subjectIn({ iss: issuer, sub: subject.sub }, options)
  return sub === null ? null : { sub }
}

/** @throws SignalRefusal for a user that the option refuses: it would refuse the same user again. What the option throws */
function subjectIn (claims: Claims, { subject }: CompleteOptions): string | null {
  try {
    return subjectOf(claims, subject)
  } catch (error) {
    throw toSignalRefusal(error)
  }
}
