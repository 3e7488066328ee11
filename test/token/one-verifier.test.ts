/* Counts how often a key is prepared: that is done once for each verifier that is built. Alone in its file, for it has to come before fast-jwt is loaded. */
import { createRequire, syncBuiltinESMExports } from 'node:module'
import t from 'tap'
import { keys, mint, secret } from '../helpers/keys'

const crypto = createRequire(__filename)('node:crypto')
let built = 0
for (const name of ['createPublicKey', 'createSecretKey']) {
  const create = crypto[name]
  crypto[name] = (...args: unknown[]) => {
    built++
    return create(...args)
  }
}
syncBuiltinESMExports()

t.test('one verifier serves all requests', async (t) => {
  const { default: Fastify } = await import('fastify')
  const { default: fastifyJwt } = await import('@fastify/jwt')
  const { default: fastifyWsAuth } = await import('../../lib/index.js')
  const fixed = { secret: { public: keys.RS256.public } }
  const later = { secret: async () => keys.RS256.public }
  const ways: Array<[what: string, own: object | undefined, app: object | undefined, token: string]> = [
    ['the plugin\'s own', fixed, undefined, mint({ sub: 'ann' }, {}, 'RS256')],
    ['the plugin\'s own, with an async secret', later, undefined, mint({ sub: 'ann' }, {}, 'RS256')],
    ['the app\'s', undefined, { secret }, mint({ sub: 'ann' })],
    ['the app\'s, with an async secret', undefined, later, mint({ sub: 'ann' }, {}, 'RS256')],
    ['the app\'s, with trusted and formatUser', undefined, { secret, trusted: async () => true, formatUser: () => ({}) }, mint({ sub: 'ann' })],
    ['the app\'s, with extractToken: one each, as the log says', undefined, { secret, verify: { extractToken: () => '' } }, mint({ sub: 'ann' })]
  ]
  for (const [what, own, app, token] of ways) {
    const server = Fastify()
    t.teardown(() => server.close())
    if (app !== undefined) await server.register(fastifyJwt, app as never)
    await server.register(fastifyWsAuth, own === undefined ? {} : { jwt: own as never })
    server.get('/chat', { websocket: true }, () => {})
    const ask = async (): Promise<number> => (await server.inject({ url: '/chat', headers: { authorization: `Bearer ${token}` } })).statusCode

    t.equal(await ask(), 426, what)
    const before = built
    for (let i = 0; i < 20; i++) t.equal(await ask(), 426)
    t.equal(built - before, what.includes('extractToken') ? 20 : 0, `${what}: verifiers built for 20 requests`)
  }
})
