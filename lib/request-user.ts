/*
 * `request.user`, which is ours to set, and by what other name @fastify/jwt was told to call it.
 */
import type { FastifyRequest } from 'fastify'

/** Sets who a request is from. */
export type SetUser = (request: FastifyRequest, user: FastifyRequest['user'] | null) => void

/** @param decorator the request decorator that @fastify/jwt sets, or `null` where there is none */
export function userSetter (decorator: string | null): SetUser {
  return (request, user) => {
    request.user = user as FastifyRequest['user']
    if (decorator !== null && decorator !== 'user') (request as unknown as Record<string, unknown>)[decorator] = user
  }
}
