/*
 * What must hold with each library for published keys: what is wrong with a token is 401 and no line of the log at the level error, what
 * is wrong with the endpoint is 503 and one.
 */
import { generateKeyPairSync } from 'node:crypto'
import type { RequestListener } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import type { StartedApp } from './app'
import { SigningKey, startIssuer } from './jwks-server'
import type { Issuer } from './jwks-server'
import { statusOf } from './sockets'

export const AUDIENCE = 'chat'

export type Built = Omit<StartedApp, 'port'>

export interface Library {
  readonly name: string
  /** An app with the route `/ws` for tokens of these issuers. The library may keep a key for 200 ms at the most. */
  build (t: Test, issuers: readonly string[], options: { handshakeTimeout?: number }): Promise<Built>
  /** The app takes tokens of the first issuer alone. */
  readonly hasOneIssuer?: boolean
  /** The status of a token when the set is empty. */
  readonly emptySet: 401 | 503
  /** The status of a token without a kid: 426 if a library takes the only key that fits. */
  readonly noKid: 401 | 426
  /** What the library takes, although the header has another algorithm than the key; the signature is one of the key. */
  readonly admits?: string
  /** Whether an issuer may have been asked so often, in so many milliseconds, about so many tokens with unknown kids, each sent twice. */
  readonly storm: (asked: number, tokens: number, elapsed: number) => boolean
}

const [first, second, third, stranger] = [new SigningKey('first'), new SigningKey('second'), new SigningKey('third'), new SigningKey('first')]
const curve = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' })
const edwards = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' })

function claimsOf ({ name }: Pick<Issuer, 'name'>, more: object = {}): object {
  return { sub: 'ann', iss: name, aud: AUDIENCE, exp: Math.floor(Date.now() / 1000) + 600, ...more }
}

/** The lines at the level error. */
function errorsOf ({ log }: Built): string[] {
  return log.filter((line) => (JSON.parse(line) as { level: number }).level >= 50)
}

/** The events of the plugin in these lines. Fastify logs the error of each 503 again, when it answers. */
function alarmsOf (built: Built): string[] {
  return errorsOf(built).filter((line) => line.includes('"event":"refused"'))
}

/** Asks until the status is this, and resolves to it. Fails by the status that it stays at. */
async function statusInTime ({ app }: Built, token: () => string, status: number): Promise<number> {
  for (let turns = 100; ; turns--) {
    const seen = await statusOf(app, '/ws', token())
    if (seen === status || turns === 0) return seen
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Tokens that a client makes up about an issuer, by what is wrong with them. */
function wrongTokens (issuer: Issuer, other: Issuer, unknown: Issuer): Record<string, string> {
  const claims = claimsOf(issuer)
  const byHeader = (header: Record<string, unknown>): string => first.sign(claims, header)
  const kids = [7, null, {}, [], '', ' ', 'first/', '../../etc/passwd', 'http://stranger.example/', 'x'.repeat(5000), 'constructor', '__proto__', '\ud800', 'é', 'curve', 'edwards', 'secret']
  const algorithms = [undefined, 7, null, {}, [], '', 'none', 'None', 'HS256', 'ES256', 'EdDSA', 'RS512', 'PS256', 'rs256', 'RSA-OAEP', 'constructor', '__proto__', '\ud800']
  const names = [undefined, 7, null, {}, [], [issuer.name], '', unknown.name, `${unknown.name}#${issuer.name}`, issuer.name.slice(0, -1), issuer.name.toUpperCase(), `${issuer.name}../`, '\ud800', 'constructor', '__proto__', 'file:///etc/passwd']
  return {
    'a key of a stranger': stranger.sign(claims),
    'a key of another issuer': second.sign(claims),
    'the kid of another issuer': second.sign(claims, { kid: 'first' }),
    'another issuer': first.sign(claimsOf(other)),
    'another audience': first.sign(claimsOf(issuer, { aud: 'other' })),
    'no audience': first.sign(claimsOf(issuer, { aud: undefined })),
    'the public key as a secret': first.signWithPublic(claims),
    'a key of its own in the header': stranger.sign(claims, { jwk: stranger.jwk, jku: unknown.jwksUri, x5u: unknown.name }),
    'a set of its own in the header': stranger.sign(claims, { jku: unknown.jwksUri, kid: unknown.jwksUri }),
    'no object in the payload': first.sign(null),
    'a list in the payload': first.sign([claims]),
    'no object in the header': first.signText('null', claims),
    'a crit': byHeader({ crit: ['exp'] }),
    ...Object.fromEntries(kids.map((kid) => [`the kid ${JSON.stringify(kid)?.slice(0, 40)}`, byHeader({ kid })])),
    ...Object.fromEntries(algorithms.map((alg) => [`the alg ${JSON.stringify(alg)}`, byHeader({ alg })])),
    ...Object.fromEntries(algorithms.map((alg) => [`the alg ${JSON.stringify(alg)} and another kid`, byHeader({ alg, kid: 'edwards' })])),
    ...Object.fromEntries(names.map((iss) => [`the issuer ${JSON.stringify(iss)}`, first.sign({ ...claims, iss })]))
  }
}

const BROKEN: Record<string, RequestListener> = {
  'a status 500': (_request, response) => response.writeHead(500, { 'content-type': 'application/json' }).end('{}'),
  'a status 500 without a body': (_request, response) => response.writeHead(500).end(),
  'a page of HTML': (_request, response) => response.end('<!doctype html>'),
  'no set': (_request, response) => response.end('{"error":"x"}'),
  'a connection that is cut': (_request, response) => { response.destroy() }
}

/** Runs the table for a library. */
export function testLibrary (library: Library): void {
  const { name } = library

  t.test(`${name}: each of two issuers has its own keys`, async (t) => {
    const issuers = [await startIssuer(t, first.jwk), await startIssuer(t, second.jwk)] as const
    const built = await library.build(t, issuers.map(({ name }) => name), {})
    t.equal(await statusOf(built.app, '/ws', first.sign(claimsOf(issuers[0]))), 426)
    t.equal(await statusOf(built.app, '/ws', second.sign(claimsOf(issuers[1]))), library.hasOneIssuer === true ? 401 : 426)
    t.equal(await statusOf(built.app, '/ws', first.sign(claimsOf(issuers[1]))), 401)
    t.equal(await statusOf(built.app, '/ws', second.sign(claimsOf(issuers[0]))), 401)
    t.strictSame(errorsOf(built), [])
  })

  t.test(`${name}: a new key is taken and a withdrawn one is refused, without a restart`, async (t) => {
    const issuer = await startIssuer(t, first.jwk)
    const built = await library.build(t, [issuer.name], {})
    t.equal(await statusOf(built.app, '/ws', first.sign(claimsOf(issuer))), 426)
    issuer.keys = [first.jwk, third.jwk]
    t.equal(await statusInTime(built, () => third.sign(claimsOf(issuer)), 426), 426)
    t.equal(await statusOf(built.app, '/ws', first.sign(claimsOf(issuer))), 426)
    issuer.keys = [third.jwk]
    t.equal(await statusInTime(built, () => first.sign(claimsOf(issuer)), 401), 401)
    t.equal(await statusOf(built.app, '/ws', third.sign(claimsOf(issuer))), 426)
    t.strictSame(errorsOf(built), [])
  })

  t.test(`${name}: a wrong token is 401 and raises no alarm, and the address that a client names gets no request`, async (t) => {
    const others = [{ ...curve, kid: 'curve' }, { ...edwards, kid: 'edwards', use: 'sig' }, { kty: 'oct', k: 'c2VjcmV0', kid: 'secret' }]
    const [issuer, other, unknown] = [await startIssuer(t, first.jwk, ...others), await startIssuer(t, second.jwk), await startIssuer(t, stranger.jwk)] as const
    const built = await library.build(t, [issuer.name, other.name], {})
    t.equal(await statusOf(built.app, '/ws', first.sign(claimsOf(issuer))), 426)
    for (const [what, token] of Object.entries(wrongTokens(issuer, other, unknown))) {
      t.equal(await statusOf(built.app, '/ws', token), what === library.admits ? 426 : 401, what)
      t.strictSame(errorsOf(built).splice(0), [], what)
    }
    t.equal(await statusOf(built.app, '/ws', first.sign(claimsOf(issuer), { kid: undefined })), library.noKid, 'no kid')
    t.strictSame(unknown.asked, [], 'the address of the client was not asked')
    t.strictSame([...new Set([...issuer.asked, ...other.asked])], ['/.well-known/jwks.json'], 'nothing else was asked')
  })

  t.test(`${name}: an endpoint that lies is 503 with one line, and comes back`, async (t) => {
    const issuer = await startIssuer(t, first.jwk)
    const token = (): string => first.sign(claimsOf(issuer))
    for (const [what, answer] of Object.entries(BROKEN)) {
      const built = await library.build(t, [issuer.name], {})
      issuer.answer = answer
      t.equal(await statusOf(built.app, '/ws', token()), 503, what)
      t.equal(alarmsOf(built).length, 1, `${what}: one line`)
      t.notMatch(errorsOf(built).join(), token().slice(0, 60), 'without the token')
      issuer.answer = null
      t.equal(await statusInTime(built, token, 426), 426, `${what}: it comes back`)
    }
  })

  t.test(`${name}: a set without a usable key refuses each token, and works again with one`, async (t) => {
    const issuer = await startIssuer(t)
    const sets: Array<[string, Issuer['keys'], number]> = [
      ['no key', [], library.emptySet],
      ['a broken key', [{ ...first.jwk, n: undefined }], 503],
      ['a key of another type', [{ ...curve, kid: 'first', use: 'sig', alg: 'ES256' }], 401]
    ]
    for (const [what, keys, status] of sets) {
      const built = await library.build(t, [issuer.name], {})
      issuer.keys = keys
      t.equal(await statusOf(built.app, '/ws', first.sign(claimsOf(issuer))), status, what)
      t.equal(alarmsOf(built).length, status === 503 ? 1 : 0, what)
      issuer.keys = [first.jwk]
      t.equal(await statusInTime(built, () => first.sign(claimsOf(issuer)), 426), 426, `${what}: it comes back`)
    }
  })

  t.test(`${name}: an endpoint that is down or silent is 503 with one line, and comes back`, async (t) => {
    const issuer = await startIssuer(t, first.jwk)
    const token = (): string => first.sign(claimsOf(issuer))
    const built = await library.build(t, [issuer.name], { handshakeTimeout: 1000 })
    await issuer.stop()
    t.equal(await statusOf(built.app, '/ws', token()), 503, 'down')
    t.equal(alarmsOf(built).length, 1)
    await issuer.start()
    t.equal(await statusInTime(built, token, 426), 426)

    const silent = await library.build(t, [issuer.name], { handshakeTimeout: 200 })
    issuer.answer = () => {}
    t.equal(await statusOf(silent.app, '/ws', token()), 503, 'silent')
    t.equal(alarmsOf(silent).length, 1)
    issuer.answer = null
    t.equal(await statusInTime(silent, token, 426), 426)
  })

  t.test(`${name}: tokens with unknown kids are 401, and the issuer is asked as often as the documents say`, async (t) => {
    const issuer = await startIssuer(t, first.jwk)
    const built = await library.build(t, [issuer.name], {})
    t.equal(await statusOf(built.app, '/ws', first.sign(claimsOf(issuer))), 426)
    const tokens = Array.from({ length: 50 }, (_, i) => first.sign(claimsOf(issuer), { kid: `unknown ${i}` }))
    const [before, start] = [issuer.asked.length, Date.now()]
    for (const token of [...tokens, ...tokens]) t.equal(await statusOf(built.app, '/ws', token), 401)
    t.ok(library.storm(issuer.asked.length - before, tokens.length, Date.now() - start), `asked ${issuer.asked.length - before} times`)
    t.strictSame(errorsOf(built), [])
  })
}
