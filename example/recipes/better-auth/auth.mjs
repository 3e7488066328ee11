/*
 * The login: users with e-mail and password, and the plugins that give out JWTs and one-time tokens. It keeps all in memory: give a database.
 */
import { randomBytes } from 'node:crypto'
import { betterAuth } from 'better-auth'
import { memoryAdapter } from 'better-auth/adapters/memory'
import { jwt, oneTimeToken } from 'better-auth/plugins'

/** @param onLogout called with the id of a session that has ended */
export function createAuth (baseURL, onLogout) {
  return betterAuth({
    baseURL,
    secret: process.env.BETTER_AUTH_SECRET || randomBytes(32).toString('hex'),
    database: memoryAdapter({ user: [], session: [], account: [], verification: [], jwks: [] }),
    emailAndPassword: { enabled: true },
    databaseHooks: { session: { delete: { after: async ({ id }) => { await onLogout(id) } } } },
    plugins: [
      jwt({ jwt: { definePayload: ({ user, session }) => ({ name: user.name, sid: session.id }) } }),
      oneTimeToken()
    ]
  })
}
