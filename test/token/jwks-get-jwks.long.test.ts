/*
 * Published keys by get-jwks, with the bounds that example/recipes/jwks-with-get-jwks.js puts around it.
 */
import { createPublicKey } from 'node:crypto'
import buildGetJwks from 'get-jwks'
import t from 'tap'
import { prepare } from '../helpers/app'
import { SigningKey, startIssuer } from '../helpers/jwks-server'
import { AUDIENCE, testLibrary } from '../helpers/jwks-table'
import { statusOf } from '../helpers/sockets'

interface Decoded { header: { kid: string, alg: string }, payload: { iss: string } }

const TIMEOUT = 3000

async function late (): Promise<never> {
  await new Promise((resolve) => setTimeout(resolve, TIMEOUT))
  throw new Error('the issuer does not answer')
}

testLibrary({
  name: 'get-jwks',
  emptySet: 503,
  noKid: 401,
  storm: (asked, tokens) => asked === tokens * 2,
  build: async (t, issuers, options) => {
    const getJwks = buildGetJwks({ issuersWhitelist: [...issuers], ttl: 200 })
    return await prepare(t, {
      plugin: {
        ...options,
        jwt: {
          decode: { complete: true },
          verify: { algorithms: ['RS256'], allowedIss: [...issuers], allowedAud: AUDIENCE },
          secret: async (_request: unknown, token: unknown) => {
            const { header: { kid, alg }, payload: { iss } } = token as Decoded
            const name = getJwks.generateCacheKey(alg, kid, iss)
            getJwks.staleCache.delete(name)
            try {
              const jwk = await Promise.race([getJwks.getJwk({ kid, alg, domain: iss }), late()])
              return jwk.kty === 'RSA' ? createPublicKey({ key: jwk as never, format: 'jwk' }).export({ type: 'spki', format: 'pem' }) : undefined
            } catch (error) {
              getJwks.cache.delete(name)
              throw error
            }
          }
        }
      },
      routes: (app) => app.get('/ws', { websocket: true }, () => {})
    })
  }
})

t.test('get-jwks without a list of issuers does not ask an address of a client, if allowedIss has one', async (t) => {
  const key = new SigningKey('k1')
  const [issuer, stranger] = [await startIssuer(t, key.jwk), await startIssuer(t, key.jwk)]
  for (const allowedIss of [issuer.name, [issuer.name], [new RegExp(`^${issuer.name}$`, 'g')]]) {
    const getJwks = buildGetJwks()
    const { app } = await prepare(t, {
      plugin: {
        jwt: {
          decode: { complete: true },
          verify: { algorithms: ['RS256'], allowedIss },
          secret: async (_request: unknown, token: unknown) => {
            const { header: { kid, alg }, payload: { iss } } = token as Decoded
            return await getJwks.getPublicKey({ kid, alg, domain: iss })
          }
        }
      },
      routes: (app) => app.get('/ws', { websocket: true }, () => {})
    })
    t.equal(await statusOf(app, '/ws', key.sign({ sub: 'ann', iss: stranger.name })), 401)
    for (let i = 0; i < 3; i++) t.equal(await statusOf(app, '/ws', key.sign({ sub: 'ann', iss: issuer.name })), 426)
  }
  t.strictSame(stranger.asked, [])
})

t.test('get-jwks alone keeps a withdrawn key, repeats an old error and has no time-out, which the recipe mends', async (t) => {
  const key = new SigningKey('k1')
  const issuer = await startIssuer(t, key.jwk)
  const getJwks = buildGetJwks({ issuersWhitelist: [issuer.name], ttl: 1500, fetchOptions: { timeout: 50 } as never })
  const ask = async (kid: string): Promise<unknown> => await getJwks.getJwk({ kid, alg: 'RS256', domain: issuer.name }).then(({ kid }) => kid, (error: Error) => error.message)
  t.equal(await ask('k1'), 'k1')
  issuer.keys = [{ ...key.jwk, kid: 'k2' }]
  for (let i = 0; i < 8; i++) {
    await new Promise((resolve) => setTimeout(resolve, 750))
    t.equal(await ask('k1'), 'k1')
  }
  t.ok(issuer.asked.length > 2, 'the issuer has said that the key is gone')

  await issuer.stop()
  t.equal(await ask('k3'), 'fetch failed')
  await issuer.start()
  t.equal(await ask('k3'), 'fetch failed', 'the issuer is back')
  issuer.answer = () => {}
  const waiting = ask('k4')
  t.equal(await Promise.race([waiting, new Promise((resolve) => setTimeout(resolve, 300, 'it waits'))]), 'it waits')
  await issuer.stop()
  t.equal(await waiting, 'fetch failed')
})
