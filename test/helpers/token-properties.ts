/*
 * Properties of tokens: whatever is sent as one is a refusal of the token and no fault of the server, whoever signed it; it
 * passes only where an independent verifier (jose) lets it pass; and no error that is made of one tells it.
 */
import assert from 'node:assert/strict'
import { inspect } from 'node:util'
import fc from 'fast-check'
import type { Arbitrary } from 'fast-check'
import type { Test } from 'tap'
import { errorWithoutToken, textWithoutToken } from '../../lib/base/redaction'
import { prepare } from './app'
import { anyText, bytes, holds, holdsAsync, jwtLike, unicode } from './arbitraries'
import { base64url, mint, secret, seconds } from './keys'

/** Not so near that it passes while both are asked. */
const now = fc.integer({ min: -1000, max: 1000 }).filter((offset) => Math.abs(offset) > 30).map((offset) => seconds(offset))
const odd: Arbitrary<unknown> = fc.oneof(anyText, fc.double(), fc.integer(), fc.constantFrom(null, true, false, '', -1e300, 1e300, '1e400', [], {}, ['none']), fc.jsonValue({ maxDepth: 1 }))

/** Claims of which most are what they should be. */
const claims = fc.record({
  sub: fc.oneof({ weight: 6, arbitrary: unicode }, odd),
  exp: fc.oneof({ weight: 6, arbitrary: now }, odd),
  iat: fc.oneof({ weight: 6, arbitrary: now }, odd),
  nbf: fc.oneof({ weight: 6, arbitrary: now }, odd),
  jti: fc.oneof(unicode, odd),
  events: odd,
  ['__proto__']: odd
}, { requiredKeys: [] })

const header = fc.record({
  alg: fc.oneof({ weight: 6, arbitrary: fc.constantFrom('HS256', 'HS256', 'HS512', 'none', 'None', 'hs256', 'RS256', '') }, odd),
  typ: fc.oneof(fc.constantFrom('JWT', 'jwt', 'at+jwt'), odd),
  kid: fc.oneof(unicode, fc.constantFrom('constructor', '__proto__'), odd),
  crit: fc.oneof(fc.constantFrom<unknown>([], ['exp'], ['b64'], ''), odd),
  b64: fc.boolean(),
  jwk: odd,
  zip: odd
}, { requiredKeys: [] })

/** Signed with the right key: what only an issuer can have made, and still may be wrong. */
const signed = fc.tuple(fc.oneof({ weight: 4, arbitrary: claims }, fc.json(), bytes(40).map((array) => array.toString('latin1'))), fc.oneof({ weight: 3, arbitrary: fc.constant({}) }, header))
  .map(([claims, header]) => mint(claims, header))

const character = fc.string({ unit: 'binary-ascii', minLength: 1, maxLength: 1 })
/** A token of which some characters are changed. */
const changed = fc.tuple(signed, fc.array(fc.tuple(fc.nat(), fc.nat(2), fc.oneof(character, fc.constantFrom('', '.', '=', '-', '_'))), { minLength: 1, maxLength: 2 }))
  .map(([token, changes]) => changes.reduce((text, [at, removed, added]) => {
    const start = at % text.length
    return text.slice(0, start) + added + text.slice(start + removed)
  }, token))
const segments = fc.array(fc.oneof(fc.json().map(base64url), bytes(20).map(base64url), anyText), { minLength: 1, maxLength: 5 }).map((parts) => parts.join('.'))
/** A URL cannot say what is no Unicode. */
const token = fc.oneof({ weight: 4, arbitrary: signed }, { weight: 2, arbitrary: changed }, segments, anyText).filter((text) => text !== '' && text.isWellFormed())

const SETTINGS = {
  'the secret is there': { jwt: { secret } },
  'the secret comes from a function': { jwt: { secret: async () => secret } },
  'tokens are remembered': { jwt: { secret }, tokenCache: { max: 10, ttl: 1000 } }
}

/** What a token is in what texts are made of. */
function writings (token: string): string[] {
  const utf8 = Buffer.from(token)
  const written = [token, JSON.stringify(token).slice(1, -1), utf8.toString('base64'), utf8.toString('base64').replace(/=+$/, ''), utf8.toString('base64url')]
  return token.isWellFormed() ? [...written, encodeURIComponent(token), new URLSearchParams({ '': token }).toString().slice(1)] : written
}

/** One that is a secret, and not the placeholder that is put in its place. */
const secretText = fc.oneof(jwtLike, anyText, fc.string({ unit: fc.constantFrom(...'$&\\^.*+?()[]"/ %é😀'), maxLength: 30 }))
  .filter((text) => text.length >= 8 && !/token|\[|\]/.test(text))
const around = fc.oneof(anyText, fc.constantFrom('', '"', '%', '[token]', '$&', '\\'))

const told = secretText.chain((token) => fc.tuple(fc.constant(token), fc.array(fc.tuple(around, fc.constantFrom(...writings(token))), { minLength: 1, maxLength: 4 }), around))

/** All that can be read of an error and of each of its causes. */
function toldBy (error: unknown): string[] {
  const told = []
  for (let copy = error; copy instanceof Error; copy = copy.cause) {
    told.push([String(copy), copy.name, copy.message, copy.stack, 'code' in copy ? String(copy.code) : '', inspect(copy, { showHidden: true })].join('\n'))
  }
  return told
}

/** The tests of all properties. @param share how much of the full number of draws is tried */
export function testTokens (t: Test, share: number): void {
  const runs = (full: number): number => Math.ceil(full * share)

  for (const [how, plugin] of Object.entries(SETTINGS)) {
    t.test(`a token of any text is accepted or 401, and accepted only if jose accepts it, if ${how}`, async (t) => {
      const { app, log } = await prepare(t, { plugin, routes: (app) => { app.get('/', { websocket: true }, () => {}) } })
      const outcomes: Record<string, number> = {}
      const { jwtVerify } = await import('jose')
      const key = new TextEncoder().encode(secret)
      await holdsAsync(fc.asyncProperty(token, async (token) => {
        log.length = 0
        const { statusCode, json, body } = await app.inject({ url: '/', query: { token } })
        const outcome = statusCode === 426 ? 'accepted' : json().code
        outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
        const verdict = await jwtVerify(token, key, { algorithms: ['HS256', 'HS384', 'HS512'] }).then(() => 'accepted', ({ code }) => String(code))
        if (statusCode === 426) return assert.equal(verdict, 'accepted')
        assert.equal(statusCode, 401, body)
        assert.ok(['WS_AUTH_TOKEN_INVALID', 'WS_AUTH_TOKEN_EXPIRED'].includes(outcome), outcome)
        if (outcome === 'WS_AUTH_TOKEN_EXPIRED') assert.ok(verdict !== 'accepted', 'past its exp')
        if (token.length >= 20) assert.ok(!body.includes(token), 'nobody is told the token')
      }), runs(250), [[mint({ sub: 'ann' })], [mint({ sub: 'ann', exp: seconds(-60) })]])
      t.comment(JSON.stringify(outcomes))
      for (const outcome of ['accepted', 'WS_AUTH_TOKEN_INVALID', 'WS_AUTH_TOKEN_EXPIRED']) t.ok(outcomes[outcome], outcome)
    })
  }

  t.test('a token of good claims is accepted, and its claims are the user', async (t) => {
    let user: unknown
    const { app } = await prepare(t, { plugin: { jwt: { secret } }, routes: (app) => { app.get('/', { websocket: true, preHandler: async (request) => { user = request.user } }, () => {}) } })
    const good = fc.record({
      sub: unicode,
      exp: fc.oneof(fc.integer({ min: 60, max: 1e9 }), fc.double({ min: 60, max: 1e15, noNaN: true })).map((offset) => seconds() + offset),
      iat: fc.integer({ min: -1e9, max: 30 }).map((offset) => seconds() + offset),
      nbf: fc.integer({ min: -1e9, max: 0 }).map((offset) => seconds() + offset),
      jti: unicode,
      more: fc.jsonValue()
    }, { requiredKeys: [] })
    await holdsAsync(fc.asyncProperty(good, async (claims) => {
      const payload = JSON.stringify(claims)
      const { statusCode } = await app.inject({ url: '/', headers: { authorization: `Bearer ${mint(payload)}` } })
      assert.equal(statusCode, 426)
      assert.deepEqual(user, JSON.parse(payload))
    }), runs(300))
    t.pass()
  })

  t.test('textWithoutToken removes a token in each encoding', async (t) => {
    holds(fc.property(told, ([token, pieces, end]) => {
      const text = textWithoutToken(pieces.flat().join('') + end, token)
      for (const writing of writings(token)) assert.ok(!text.includes(writing), `${JSON.stringify(writing)} in ${JSON.stringify(text)}`)
    }), runs(4000))
    t.pass()
  })

  t.test('textWithoutToken keeps a text without the token unchanged', async (t) => {
    holds(fc.property(fc.oneof(anyText, fc.lorem()), secretText, (text, token) => {
      fc.pre(writings(token).every((writing) => !text.includes(writing)))
      assert.equal(textWithoutToken(text, token), text)
    }), runs(3000))
    t.pass()
  })

  t.test('errorWithoutToken removes a token from an error with any causes and properties', async (t) => {
    const thrown = told.chain(([token, pieces, end]) => {
      const text = fc.constantFrom(pieces.flat().join('') + end, token, 'harmless')
      const error: Arbitrary<unknown> = fc.letrec<{ error: unknown, anything: unknown }>((tie) => ({
        error: fc.record({ message: text, name: text, code: fc.oneof(text, fc.constant(7)), stack: fc.oneof(text, fc.constant(undefined)), config: text, cause: fc.oneof({ depthSize: 'small' }, text, tie('error'), tie('anything')) })
          .map(({ message, cause, ...rest }) => Object.assign(new Error(message, { cause }), rest)),
        anything: fc.oneof({ depthSize: 'small' }, text, fc.constantFrom(null, undefined, 7, Symbol('x')), text.map((text) => ({ text })), text.map((text) => ({ get message () { throw new Error(text) } })), text.map((text) => new Proxy(new Error(text), { get: () => { throw new Error(text) } })), tie('error'))
      })).anything
      return fc.tuple(fc.constant(token), error)
    })
    holds(fc.property(thrown, ([token, error]) => {
      const safe = errorWithoutToken(error, token)
      assert.ok(safe instanceof Error)
      // A token may be a word that stands in every stack.
      const own = toldBy(errorWithoutToken(null, '')).join('\n')
      fc.pre(writings(token).every((writing) => !own.includes(writing)))
      for (const all of toldBy(safe)) {
        for (const writing of writings(token)) assert.ok(!all.includes(writing), `${JSON.stringify(writing)} in ${all}`)
      }
    }), runs(1500))
    t.pass()
  })
}
