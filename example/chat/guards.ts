/*
 * Guards for plain requests. The plugin guards the websockets.
 */
import type { FastifyRequest } from 'fastify'
import type { User } from './accounts'
import { IS_HTTPS } from './settings'

/** An answer with a status and a message for the user. */
export class HttpError extends Error {
  constructor (readonly statusCode: number, message: string) { super(message) }
}

/** SameSite lets pages of another port send the cookie, because they are of the same site. Programs send no Origin. */
export async function checkOrigin ({ headers: { origin }, host }: FastifyRequest): Promise<void> {
  const own = `${IS_HTTPS ? 'https' : 'http'}://${host}`
  if (origin !== undefined && origin !== own) throw new HttpError(403, `Only for pages of ${own}`)
}

/** Admits a login. A token for a connection is refused, because it must not be good for getting the next. */
export async function authenticate (request: FastifyRequest): Promise<void> {
  const user = await request.jwtVerify<User>().catch(() => null)
  if (user?.use !== 'login' || request.server.wsAuth.isRevoked(user)) throw new HttpError(401, 'Please log in')
}

export async function checkAdmin ({ user }: FastifyRequest): Promise<void> {
  if (!user.roles.includes('admin')) throw new HttpError(403, 'Only for admins')
}
