/*
 * Logging in and out, and the tokens for connections.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { findUser, profileOf } from './accounts'
import type { User } from './accounts'
import { authenticate, checkOrigin, HttpError } from './guards'
import { createLimit } from './rate'
import { COOKIE, COOKIE_OPTIONS, LOGIN_SECONDS, TOKEN_SECONDS } from './settings'

interface TokenBody { lifetime: number }
interface LoginBody extends TokenBody { name: string, password: string }

/** In seconds. */
const LIFETIME = { type: 'integer', minimum: 1, maximum: TOKEN_SECONDS, default: TOKEN_SECONDS }

const LOGIN_SCHEMA = {
  body: {
    type: 'object',
    required: ['name', 'password'],
    additionalProperties: false,
    properties: {
      name: { type: 'string', minLength: 1, maxLength: 64 },
      password: { type: 'string', minLength: 1, maxLength: 128 },
      lifetime: LIFETIME
    }
  }
}

const TOKEN_SCHEMA = { body: { type: 'object', additionalProperties: false, properties: { lifetime: LIFETIME } } }

export function addLogin (app: FastifyInstance): void {
  const mayLogin = createLimit(20, 60_000)

  app.post<{ Body: LoginBody }>('/login', { onRequest: checkOrigin, schema: LOGIN_SCHEMA }, async (request, reply) => {
    if (!mayLogin(request.ip)) throw new HttpError(429, 'Too many attempts: wait a minute')
    const { name, password, lifetime } = request.body
    const user = await findUser(name, password)
    if (user === null) throw new HttpError(401, 'Wrong name or password')
    const sign = (): { login: string, token: string } =>
      ({ login: app.jwt.sign(user, { expiresIn: LOGIN_SECONDS }), token: signForConnection(app, user, lifetime) })
    let { login, token } = sign()
    // A token knows only the second of its issue. A user who has logged out everywhere in this second gets a login of the next.
    if (app.wsAuth.isRevoked(app.jwt.verify<User>(login))) {
      await delay(1001 - Date.now() % 1000);
      ({ login, token } = sign())
    }
    reply.setCookie(COOKIE, login, { ...COOKIE_OPTIONS, maxAge: LOGIN_SECONDS })
    return { user: profileOf(user), token }
  })

  app.get('/me', { onRequest: authenticate }, async ({ user }) => ({ user: profileOf(user) }))

  // For a new connection, or the renewal of an open one. A login is renewed by logging in.
  app.post<{ Body: TokenBody }>('/token', { onRequest: [checkOrigin, authenticate], schema: TOKEN_SCHEMA }, async (request) => {
    const token = signForConnection(app, request.user, request.body.lifetime)
    // Once more, because the login may have been revoked while the body came in. A later revocation covers this token.
    await authenticate(request)
    return { token }
  })

  // For the page, to show how the server refuses one.
  app.get('/expired-token', { onRequest: authenticate }, async ({ user }) => ({ token: signForConnection(app, user, -60) }))

  // The cookie goes also if the other instances cannot be told (503).
  app.post('/logout', { onRequest: [checkOrigin, authenticate] }, async ({ user }, reply) => {
    reply.clearCookie(COOKIE, COOKIE_OPTIONS)
    await app.wsAuth.revoke({ sid: user.sid })
    return reply.code(204).send()
  })

  app.post('/logout-everywhere', { onRequest: [checkOrigin, authenticate] }, async ({ user }, reply) => {
    reply.clearCookie(COOKIE, COOKIE_OPTIONS)
    const { closed, instances } = await app.wsAuth.revoke({ sub: user.sub })
    return { closed, instances: instances.length }
  })
}

function signForConnection (app: FastifyInstance, { sub, roles, sid }: User, seconds: number): string {
  const user: User = { sub, roles, sid, use: 'connection' }
  return app.jwt.sign(user, { expiresIn: seconds })
}
