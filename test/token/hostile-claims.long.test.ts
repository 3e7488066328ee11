/*
 * Attacks by the header and the claims of a token that an issuer has signed.
 */
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { RouteWsAuth } from '../../lib/options/public-route-options'
import { SECRET } from '../helpers/app'
import { ACCEPTED, EXPIRED, FORBIDDEN, HostileTarget, INVALID, withoutScope } from '../helpers/hostile-target'
import type { Answer } from '../helpers/hostile-target'
import { carriers, segment } from '../helpers/hostile-tokens'
import { seconds } from '../helpers/keys'
import { ANN, GOOD, HS, mint, secretTargets, SIGNATURE, tried, tryRows } from '../helpers/token-attacks'

t.test('a token whose header has crit or an unsuitable parameter gets exactly the expected answer', async (t) => {
  const targets = await secretTargets(t)
  const crit = (crit: unknown, more: object = {}): string => mint(ANN, { ...HS, crit, ...more })
  tryRows(t, targets, [
    ['crit: an unknown name', crit(['http://example.com/x'], { 'http://example.com/x': 1 }), INVALID],
    ['crit: a name that is not there', crit(['x']), INVALID],
    ['crit: exp', crit(['exp'], { exp: 9e9 }), INVALID],
    ['crit: alg, a name of the standard', crit(['alg']), INVALID],
    ['crit: kid, a name of the standard', crit(['kid'], { kid: 'x' }), INVALID],
    ['crit: itself', crit(['crit']), INVALID],
    ['crit: toString, which every object has', crit(['toString']), INVALID],
    ['crit: __proto__', crit(['__proto__']), INVALID],
    ['crit: a number', crit([7]), INVALID],
    ['crit: an empty name', crit([''], { '': 1 }), INVALID],
    ['crit: empty', crit([]), INVALID],
    ['crit: an empty text', crit(''), INVALID],
    ['crit: false', crit(false), INVALID],
    ['crit: 0', crit(0), INVALID],
    ['crit: an object', crit({ 0: 'x', length: 1 }), INVALID],
    ['crit: b64, false', crit(['b64'], { b64: false }), INVALID],
    ['crit: b64, true', crit(['b64'], { b64: true }), INVALID],
    ['crit: b64, false, over a payload as it is', `${segment({ ...HS, crit: ['b64'], b64: false })}.${JSON.stringify(ANN)}.${SIGNATURE}`, INVALID],
    // RFC 7797, 6: without a crit it is not understood, and ignored.
    ['b64: false without crit', mint(ANN, { ...HS, b64: false }), ACCEPTED],
    ['zip, over claims', mint(ANN, { ...HS, zip: 'DEF' }), ACCEPTED],
    ['cty: JWT, over claims', mint(ANN, { ...HS, cty: 'JWT' }), ACCEPTED],
    ['cty: JWT, over a good token', mint(GOOD, { ...HS, cty: 'JWT' }), INVALID],
    ['enc: a header of encryption, over claims', mint(ANN, { ...HS, enc: 'A128GCM' }), ACCEPTED],
    ['typ: an object', mint(ANN, { ...HS, typ: {} }), ACCEPTED],
    ['typ: of a logout token, by its type alone', mint(ANN, { ...HS, typ: 'logout+jwt' }), ACCEPTED],
    ['a header of 6 KB', mint(ANN, { ...HS, x: 'x'.repeat(4500) }), ACCEPTED],
    ['a header that nests 1,000 deep', mint(ANN, `{"alg":"HS256","x":${'['.repeat(1000)}${']'.repeat(1000)}}`), ACCEPTED]
  ])
})

t.test('a claim of a wrong type gets exactly the expected answer', async (t) => {
  const targets = await secretTargets(t)
  const now = seconds()
  tryRows(t, targets, [
    ['exp a text', mint({ exp: String(now + 60) }), INVALID],
    ['exp a date', mint({ exp: '2999-01-01T00:00:00Z' }), INVALID],
    ['exp true', mint({ exp: true }), INVALID],
    ['exp an object', mint({ exp: { valueOf: now + 60 } }), INVALID],
    ['exp NaN, which is no JSON', mint('{"exp":NaN}'), INVALID],
    ['exp negative', mint({ exp: -1 }), EXPIRED],
    ['exp zero', mint({ exp: 0 }), EXPIRED],
    ['exp minus zero', mint('{"exp":-0}'), EXPIRED],
    ['exp a fraction of the past', mint({ exp: now - 0.5 }), EXPIRED],
    ['exp the least number', mint({ exp: 5e-324 }), EXPIRED],
    ['exp in milliseconds: in 50,000 years', mint({ exp: Date.now() }), ACCEPTED],
    ['exp 1e300', mint('{"exp":1e300}'), ACCEPTED],
    ['exp 1e400 is infinite', mint('{"exp":1e400}'), INVALID],
    ['exp -1e400 is infinite', mint('{"exp":-1e400}'), INVALID],
    ['exp with a leading zero', mint(`{"exp":0${now + 60}}`), INVALID],
    ['exp in hex', mint('{"exp":0xFFFFFFFFF}'), INVALID],
    ['Exp in upper case is no exp', mint({ Exp: 0, sub: 'ann' }), ACCEPTED],
    ['exp of long ago behind a good one', mint(`{"exp":${now + 60},"exp":1}`), EXPIRED],
    ['a good exp behind one of long ago', mint(`{"exp":1,"exp":${now + 60}}`), ACCEPTED],
    ['exp escaped', mint('{"\\u0065xp":1}'), EXPIRED],
    ['exp in __proto__ is no exp', mint('{"sub":"ann","__proto__":{"exp":1}}'), ACCEPTED],
    ['nbf in the future', mint({ nbf: now + 50 }), INVALID],
    ['nbf in milliseconds', mint({ nbf: Date.now() }), INVALID],
    ['nbf null', mint({ nbf: null }), INVALID],
    ['nbf an empty array', mint({ nbf: [] }), INVALID],
    ['nbf 1e300', mint('{"nbf":1e300}'), INVALID],
    ['nbf negative', mint({ nbf: -1 }), ACCEPTED],
    ['iat in the future', mint({ iat: now + 3600 }), INVALID],
    ['iat in milliseconds', mint({ iat: Date.now() }), INVALID],
    ['iat null', mint({ iat: null }), INVALID],
    ['iat false', mint({ iat: false }), INVALID],
    ['iat an object', mint({ iat: {} }), INVALID],
    ['iat after exp, both past', mint({ iat: now - 10, exp: now - 20 }), EXPIRED],
    ['nbf after exp', mint({ nbf: now + 20, exp: now - 20 }), INVALID],
    ['sub null', mint({ sub: null }), INVALID],
    ['sub an array', mint({ sub: ['ann'] }), INVALID],
    ['sub true', mint({ sub: true }), INVALID],
    ['sub of 5 KB', mint({ sub: 's'.repeat(5000) }), ACCEPTED],
    ['sub of 1 MB in the query', mint({ sub: 's'.repeat(2 ** 20) }), { status: 431 }, 'query'],
    ['sub __proto__', mint({ sub: '__proto__' }), ACCEPTED],
    ['sub empty', mint({ sub: '' }), ACCEPTED],
    ['sub with NUL', mint({ sub: 'ann\0' }), ACCEPTED],
    ['no claims', mint({}), ACCEPTED],
    ['500 claims', mint(`{${Array.from({ length: 500 }, (_, i) => `"c${i}":1`).join()}}`), ACCEPTED],
    ['a logout token', mint({ sub: 'ann', events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }), INVALID],
    ['a logout token with an event that is null', mint({ sub: 'ann', events: { 'http://schemas.openid.net/event/backchannel-logout': null } }), INVALID]
  ])
})

t.test('a token needs the required issuer and audience', async (t) => {
  const jwt = { secret: SECRET, verify: { allowedIss: 'https://issuer.example', allowedAud: 'chat' } }
  const targets = {
    'a secret': await HostileTarget.start(t, { plugin: { jwt } }),
    'a secret asked for': await HostileTarget.start(t, { plugin: { jwt: { ...jwt, secret: async () => SECRET } } })
  }
  const claims = (aud: unknown, iss: unknown = 'https://issuer.example'): string => mint({ sub: 'ann', aud, iss })
  tryRows(t, targets, [
    ['both as they should be', claims('chat'), ACCEPTED],
    ['aud one of many', claims(['mail', 'chat']), ACCEPTED],
    ['aud missing', claims(undefined), INVALID],
    ['aud empty', claims(''), INVALID],
    ['aud an empty list', claims([]), INVALID],
    ['aud null', claims(null), INVALID],
    ['aud an object', claims({ 0: 'chat', length: 1 }), INVALID],
    ['aud a list of a list', claims([['chat']]), INVALID],
    ['aud a list with a number', claims(['chat', 7]), INVALID],
    ['aud that begins alike', claims('chat.evil.example'), INVALID],
    ['aud in upper case', claims('CHAT'), INVALID],
    ['aud with a comma', claims('chat,mail'), INVALID],
    ['iss missing', mint({ sub: 'ann', aud: 'chat' }), INVALID],
    ['iss with a slash behind', claims('chat', 'https://issuer.example/'), INVALID],
    ['iss that begins alike', claims('chat', 'https://issuer.example.evil.example'), INVALID],
    ['iss a list', claims('chat', ['https://issuer.example']), INVALID],
    ['iss an object', claims('chat', {}), INVALID],
    ['iss twice, the last counts', mint('{"sub":"ann","aud":"chat","iss":"https://issuer.example","iss":"https://evil.example"}'), INVALID],
    ['both in __proto__ alone', mint('{"sub":"ann","__proto__":{"iss":"https://issuer.example","aud":"chat"}}'), INVALID]
  ])
})

t.test('a value that only resembles a role or scope does not give one', async (t) => {
  const users: unknown[] = []
  const add = (app: FastifyInstance, url: string, wsAuth: RouteWsAuth, ran: string[]): void => {
    app.get(url, { websocket: true, wsAuth }, (socket, request) => {
      ran.push('handler')
      users.push(request.user)
      socket.send(`hello from ${request.wsAuth?.source}`)
    })
  }
  const target = await HostileTarget.start(t, {
    routes: (app, ran) => {
      add(app, '/admin', { roles: ['admin'] }, ran)
      add(app, '/write', { scopes: ['chat:write'] }, ran)
    }
  })
  const tryRoute = (path: string, rows: ReadonlyArray<readonly [what: string, claims: unknown, answer: Answer]>): void => {
    for (const [what, claims, answer] of rows) {
      tried.push(`${path}: ${what}`)
      t.test(`the route ${path} requires its own role or scope: ${what}`, async (t) => { await target.answers(t, { ...carriers.header(mint(claims)), path }, answer) })
    }
  }
  tryRoute('/admin', [
    ['a list with it', { roles: ['member', 'admin'] }, ACCEPTED],
    ['one text', { roles: 'admin' }, ACCEPTED],
    ['a text that contains it', { roles: 'superadmin' }, FORBIDDEN],
    ['a text with spaces', { roles: 'member admin' }, FORBIDDEN],
    ['a text with commas', { roles: 'member,admin' }, FORBIDDEN],
    ['in upper case', { roles: ['ADMIN'] }, FORBIDDEN],
    ['with a space', { roles: ['admin '] }, FORBIDDEN],
    ['with NUL', { roles: ['admin\0'] }, FORBIDDEN],
    ['in cyrillic', { roles: ['аdmin'] }, FORBIDDEN],
    ['a list in a list', { roles: [['admin']] }, FORBIDDEN],
    ['an object with it', { roles: { admin: true } }, FORBIDDEN],
    ['an object like a list', { roles: { 0: 'admin', length: 1 } }, FORBIDDEN],
    ['an object in a list', { roles: [{ toString: 'admin' }] }, FORBIDDEN],
    ['true', { roles: true }, FORBIDDEN],
    ['null beside a role', { roles: null, role: 'admin' }, FORBIDDEN],
    ['an empty list beside a role', { roles: [], role: 'admin' }, FORBIDDEN],
    ['a list without it behind one with it', '{"roles":["admin"],"roles":["member"]}', FORBIDDEN],
    ['in __proto__', '{"sub":"eve","__proto__":{"roles":["admin"],"role":"admin"}}', FORBIDDEN],
    ['in __proto__ of the list', '{"roles":{"__proto__":["admin"]}}', FORBIDDEN],
    ['in constructor.prototype', '{"constructor":{"prototype":{"roles":["admin"]}}}', FORBIDDEN],
    ['in a claim that is the user', { user: { roles: ['admin'] } }, FORBIDDEN],
    ['under a name of another case', { Roles: ['admin'] }, FORBIDDEN],
    ['under a name with NUL', { 'roles\0': ['admin'] }, FORBIDDEN],
    ['as scopes', { scope: 'admin' }, FORBIDDEN]
  ])
  const short = withoutScope('chat:write')
  tryRoute('/write', [
    ['a text with it', { scope: 'chat:read chat:write' }, ACCEPTED],
    ['a list', { scope: ['chat:write'] }, ACCEPTED],
    ['a text that contains it', { scope: 'xchat:write' }, short],
    ['a wider one by its looks', { scope: 'chat:*' }, short],
    ['separated by commas', { scope: 'chat:read,chat:write' }, short],
    ['separated by tabs', { scope: 'chat:read\tchat:write' }, short],
    ['separated by a no-break space', { scope: 'chat:read\u00a0chat:write' }, short],
    ['a number', { scope: 7 }, short],
    ['null beside scp', { scope: null, scp: ['chat:write'] }, short],
    ['an object', { scope: { 'chat:write': true } }, short],
    ['in __proto__', '{"__proto__":{"scope":"chat:write"}}', short]
  ])
  t.test('the admitted users are frozen, and Object.prototype has no role', async (t) => {
    t.equal(users.length, 4)
    for (const user of users) t.ok(Object.isFrozen(user))
    for (const name of ['roles', 'role', 'scope']) t.notOk(name in {}, `no object has ${name}`)
  })
})

t.test('the table has all of its rows, each once', async (t) => {
  t.ok(tried.length >= 120, `${tried.length} rows`)
  t.equal(new Set(tried).size, tried.length)
})
