/*
 * Published keys by fastify-jwt-jwks, which registers @fastify/jwt itself: once for the whole app, or once an issuer.
 */
import fastifyJwtJwks from 'fastify-jwt-jwks'
import type { FastifyInstance } from 'fastify'
import { prepare } from '../helpers/app'
import { AUDIENCE, testLibrary } from '../helpers/jwks-table'

interface Jwt {
  decode (token: string, options: object): { header: { alg: unknown }, payload: { iss: unknown } }
  verify (token: string): Promise<object>
}

/** Times as short as a test needs them: a key is kept for 0.2 s. */
function optionsOf (name: string): { jwksUrl: string, issuer: string, audience: string, secretsTtl: number, requiredClaims: string[] } {
  return { jwksUrl: `${name}.well-known/jwks.json`, issuer: name, audience: AUDIENCE, secretsTtl: 200, requiredClaims: ['iss', 'aud'] }
}

const shared = { emptySet: 401, noKid: 401, storm: (asked: number, tokens: number) => asked >= tokens && asked <= tokens * 2 } as const

testLibrary({
  ...shared,
  name: 'fastify-jwt-jwks for the app',
  hasOneIssuer: true,
  admits: 'the alg "EdDSA"',
  build: async (t, [name = ''], options) => await prepare(t, {
    plugin: { ...options, jwt: undefined },
    before: (app) => { app.register(fastifyJwtJwks, optionsOf(name)) },
    routes: (app) => app.get('/ws', { websocket: true }, () => {})
  })
})

testLibrary({
  ...shared,
  name: 'fastify-jwt-jwks for each issuer',
  build: async (t, issuers, options) => {
    const jwts = new Map<unknown, Jwt>()
    const verify = async (token: string): Promise<object | null> => {
      const { header: { alg }, payload: { iss } } = [...jwts.values()][0]!.decode(token, { complete: true })
      return alg === 'RS256' ? await jwts.get(iss)?.verify(token) ?? null : null
    }
    return await prepare(t, {
      plugin: { ...options, verify },
      before: async (app: FastifyInstance) => {
        for (const [i, name] of issuers.entries()) {
          await app.register(fastifyJwtJwks, { ...optionsOf(name), namespace: `issuer${i}` })
          jwts.set(name, (app.jwt as unknown as Record<string, Jwt>)[`issuer${i}`]!)
        }
      },
      routes: (app) => app.get('/ws', { websocket: true }, () => {})
    })
  }
})
