/*
 * `request.user`, which is ours to set, and by what other name @fastify/jwt was told to call it.
 */
import type { FastifyRequest } from 'fastify'
import { WsAuthError } from '../base/errors'

/** Sets who a request is from; answers with the refusal if it cannot be set (a setter of the app throws), else with `null`. */
export type SetUser = (request: FastifyRequest, user: FastifyRequest['user'] | null) => WsAuthError | null

/** @param decorator the request decorator that @fastify/jwt sets, or `null` where there is none */
export function userSetter (decorator: string | null): SetUser {
  return (request, user) => {
    try {
      request.user = user as FastifyRequest['user']
      if (decorator !== null && decorator !== 'user') (request as unknown as Record<string, unknown>)[decorator] = user
      return null
    } catch (error) {
      return new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: error })
    }
  }
}
