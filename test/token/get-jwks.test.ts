/*
 * Keys by get-jwks, from a real endpoint: an error about the token is 401, an endpoint that cannot answer is 503, and no client raises
 * an alarm.
 */
import { createSign, generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { createServer } from 'node:http'
import type { RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import buildGetJwks from 'get-jwks'
import t from 'tap'
import type { Test } from 'tap'
import { prepare } from '../helpers/app'
import { statusOf } from '../helpers/sockets'

const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'k1', alg: 'RS256', use: 'sig' }

function tokenOf (header: object, claims: object, key: KeyObject = privateKey): string {
  const input = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  return `${input}.${createSign('RSA-SHA256').update(input).sign(key, 'base64url')}`
}

/** An app whose keys are at an endpoint, and how many requests the endpoint has had. */
async function build (t: Test, answer: RequestListener, handshakeTimeout = 60_000): Promise<{ app: Awaited<ReturnType<typeof prepare>>['app'], log: string[], issuer: string, asked: () => number }> {
  let asked = 0
  const server = createServer((request, response) => { asked++; answer(request, response) }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => { server.closeAllConnections(); server.close() })
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const getJwks = buildGetJwks({ issuersWhitelist: [issuer] })
  const { app, log } = await prepare(t, {
    plugin: {
      handshakeTimeout,
      jwt: {
        decode: { complete: true },
        verify: { algorithms: ['RS256'], allowedIss: [issuer] },
        secret: async (_request: unknown, token: unknown) => {
          const { header: { kid, alg }, payload } = token as { header: { kid: string, alg: string }, payload: { iss: string } }
          return await getJwks.getPublicKey({ kid, alg, domain: payload.iss })
        }
      }
    },
    routes: (app) => app.get('/ws', { websocket: true }, () => {})
  })
  return { app, log, issuer, asked: () => asked }
}

const errors = (log: readonly string[]): number => log.filter((line) => (JSON.parse(line) as { level: number }).level >= 50).length

t.test('a token of a published key is admitted, and whatever is wrong with a token is 401', async (t) => {
  const { app, log, issuer } = await build(t, (_request, response) => response.end(JSON.stringify({ keys: [jwk] })))
  const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  const header = { alg: 'RS256', kid: 'k1' }
  const claims = { sub: 'ann', iss: issuer }
  t.equal(await statusOf(app, '/ws', tokenOf(header, claims)), 426)
  const wrong: Record<string, string> = {
    'another key': tokenOf(header, claims, stranger),
    'a kid that is not published': tokenOf({ ...header, kid: 'gone' }, claims),
    'a kid that is no key': tokenOf({ ...header, kid: '../../etc/passwd' }, claims),
    'no kid': tokenOf({ alg: 'RS256' }, claims),
    'another alg': tokenOf({ ...header, alg: 'HS256' }, claims),
    'alg none': tokenOf({ ...header, alg: 'none' }, claims),
    'another issuer': tokenOf(header, { ...claims, iss: 'http://stranger.example/' }),
    'no issuer': tokenOf(header, { sub: 'ann' }),
    ...Object.fromEntries([null, 7, true, {}, [], [issuer], ''].map((iss) => [`the issuer ${JSON.stringify(iss)}`, tokenOf(header, { sub: 'ann', iss })]))
  }
  for (const [what, token] of Object.entries(wrong)) t.equal(await statusOf(app, '/ws', token), 401, what)
  t.equal(errors(log), 0, 'a client raises no alarm')
})

t.test('an endpoint that is down, is slow or lies is 503', async (t) => {
  const answers: Record<string, RequestListener> = {
    'an error': (_request, response) => response.writeHead(500).end(),
    silence: () => {},
    'no JSON': (_request, response) => response.end('<html>')
  }
  for (const [what, answer] of Object.entries(answers)) {
    const { app, log, issuer, asked } = await build(t, answer, what === 'silence' ? 300 : undefined)
    t.equal(await statusOf(app, '/ws', tokenOf({ alg: 'RS256', kid: 'k1' }, { sub: 'ann', iss: issuer })), 503, what)
    t.ok(asked() > 0)
    t.ok(errors(log) > 0, `${what}: the log has an error`)
  }
})
