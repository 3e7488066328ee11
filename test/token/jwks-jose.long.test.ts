/*
 * Published keys by jose: in `verify`, and in the function for keys of @fastify/jwt.
 */
import { KeyObject } from 'node:crypto'
import { prepare } from '../helpers/app'
import { AUDIENCE, testLibrary } from '../helpers/jwks-table'

const COOLDOWN = 100

/** Times as short as a test needs them. */
async function setsOf (issuers: readonly string[]) {
  const { createRemoteJWKSet } = await import('jose')
  const times = { cacheMaxAge: 200, cooldownDuration: COOLDOWN, timeoutDuration: 3000 }
  return new Map(issuers.map((name) => [name, createRemoteJWKSet(new URL('.well-known/jwks.json', name), times)]))
}

const shared = { emptySet: 401, noKid: 426, storm: (asked: number, _tokens: number, elapsed: number) => asked <= elapsed / COOLDOWN + 1 } as const

testLibrary({
  ...shared,
  name: 'jose in verify',
  build: async (t, issuers, options) => {
    const { decodeJwt, jwtVerify } = await import('jose')
    const sets = await setsOf(issuers)
    return await prepare(t, {
      plugin: {
        ...options,
        verify: async (token) => {
          const { iss = '' } = decodeJwt(token)
          const keys = sets.get(iss)
          return keys === undefined ? null : (await jwtVerify(token, keys, { algorithms: ['RS256'], issuer: iss, audience: AUDIENCE })).payload
        }
      },
      routes: (app) => app.get('/ws', { websocket: true }, () => {})
    })
  }
})

testLibrary({
  ...shared,
  name: 'jose in jwt.secret',
  build: async (t, issuers, options) => {
    const sets = await setsOf(issuers)
    return await prepare(t, {
      plugin: {
        ...options,
        jwt: {
          decode: { complete: true },
          verify: { algorithms: ['RS256'], allowedIss: [...issuers], allowedAud: AUDIENCE },
          secret: async (_request: unknown, decoded: unknown) => {
            const { header, payload } = decoded as { header: { alg: string }, payload: { iss: string } }
            const key = await sets.get(payload.iss)!(header)
            return KeyObject.from(key).export({ type: 'spki', format: 'pem' })
          }
        }
      },
      routes: (app) => app.get('/ws', { websocket: true }, () => {})
    })
  }
})
