/*
 * What `app.wsAuth.inspect()` warns of, and that it does not warn of what is in order.
 */
import { generateKeyPairSync } from 'node:crypto'
import t from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { WARNINGS } from '../../lib/inspect/warnings'
import { prepare, SECRET } from '../helpers/app'
import { readDocument, section } from '../helpers/documents'

type Options = fastifyWsAuth.WsAuthOptions
type Name = fastifyWsAuth.InspectionWarning

/** Is in order: no warning of the table below is about it. */
const GOOD: Options = {
  jwt: { secret: SECRET, verify: { algorithms: ['HS256'], allowedAud: 'chat' } },
  token: { query: false },
  requireTls: true,
  heartbeat: 30_000,
  drain: { within: 1000 },
  limits: { perUser: 5, messages: { perSecond: 10 } },
  websocket: { options: { maxPayload: 65_536 } }
}
const jwt = (verify: object, more: object = {}): Options => ({ jwt: { secret: SECRET, ...more, verify: { algorithms: ['HS256'], allowedAud: 'chat', ...verify } } })
const rsa = (modulusLength: number): Options => ({ jwt: { secret: { public: generateKeyPairSync('rsa', { modulusLength }).publicKey.export({ type: 'spki', format: 'pem' }) as string }, verify: { allowedAud: 'chat' } } })
const secretFunction = (async () => SECRET) as never

/** For each warning: what causes it, and what is near and does not. */
const CASES: ReadonlyArray<{ name: Name, bad: Options[], good?: Options[], wsAuth?: fastifyWsAuth.RouteWsAuth }> = [
  { name: 'token_in_query', bad: [{ token: {} }, { token: { query: 'access_token' } }], good: [{ token: { query: false }, tickets: true }] },
  { name: 'plain_transport', bad: [{ requireTls: false }] },
  { name: 'cookie_any_origin', bad: [{ origin: 'any' }], good: [{ origin: 'any', token: { query: false, cookie: false } }, { origin: () => true }] },
  { name: 'no_audience', bad: [jwt({ allowedAud: undefined }), { ...jwt({ allowedAud: undefined }), claims: { type: 'object', required: ['aud'] } }], good: [{ ...jwt({ allowedAud: undefined }), claims: { type: 'object', required: ['aud'], properties: { aud: { const: 'chat' } } } }, { jwt: undefined, verify: () => null } as never] },
  { name: 'no_algorithms', bad: [jwt({ algorithms: undefined }, { secret: secretFunction })], good: [jwt({ algorithms: undefined }), jwt({}, { secret: secretFunction })] },
  { name: 'weak_key', bad: [jwt({}, { secret: 'short' }), jwt({ algorithms: ['HS512'] }), rsa(1024)], good: [rsa(2048)] },
  { name: 'ignores_expiry', bad: [jwt({ ignoreExpiration: true })], good: [jwt({ ignoreExpiration: false })] },
  { name: 'shared_subjects', bad: [jwt({ allowedIss: ['a', 'b'] })], good: [jwt({ allowedIss: ['a'] }), { ...jwt({ allowedIss: ['a', 'b'] }), subject: ({ iss, sub }) => `${String(iss)} ${String(sub)}` }] },
  { name: 'cached_decisions', bad: [{ ...jwt({}, { trusted: () => true }), tokenCache: { max: 10, ttl: 1000 } }, { ...jwt({}, { secret: secretFunction }), tokenCache: { max: 10, ttl: 1000 } }], good: [{ tokenCache: { max: 10, ttl: 1000 } }, jwt({}, { trusted: () => true })] },
  { name: 'endless_lifetime', bad: [{ maxLifetime: Infinity }], good: [{ maxLifetime: 1e12 }] },
  { name: 'long_expiry_grace', bad: [{ expiryGrace: 60_001 }], good: [{ expiryGrace: 60_000 }] },
  { name: 'no_message_limit', bad: [{ limits: { perUser: 5 } }, { limits: { messages: false, bytes: false, idle: 1000 } }], good: [{ limits: { bytes: { perSecond: 1000 } } }, { limits: { messages: { perSecond: 10, onLimit: 'pause' } } }] },
  { name: 'no_heartbeat', bad: [{ heartbeat: false }] },
  { name: 'no_user_limit', bad: [{ limits: {} }] },
  { name: 'large_messages', bad: [{ websocket: {} }, { websocket: { options: { maxPayload: 0 } } }, { websocket: { options: { maxPayload: 104_857_600 } } }], good: [{ websocket: { options: { maxPayload: 1_048_576 } } }] },
  { name: 'memory_backplane', bad: [{}], good: [{ backplane: { join: () => ({ ready: Promise.resolve(), isCurrent: true, publish: async () => [], put: () => true, get: () => null, take: () => null, leave: async () => {} }) } }] },
  { name: 'no_drain', bad: [{ drain: false }, { drain: undefined as never }], good: [{ drain: { within: 0 } }] },
  { name: 'public_route', bad: [{}], wsAuth: false }
]

for (const { name, bad, good = [], wsAuth = true } of CASES) {
  t.test(`${name} is a warning if it is true, and only then`, async (t) => {
    const namesOf = async (options: Options): Promise<string[]> => {
      const { app } = await prepare(t, { plugin: { ...GOOD, ...options }, routes: (app) => { app.get('/chat', { websocket: true, wsAuth }, () => {}) } })
      const { warnings, routes } = app.wsAuth.inspect()
      t.ok(routes.every((route) => route.warnings.every((each) => warnings[each] === WARNINGS[each])), 'each warning of a route has its sentence')
      return Object.keys(warnings)
    }
    for (const options of bad) t.ok((await namesOf(options)).includes(name))
    for (const options of good) t.notOk((await namesOf(options)).includes(name))
    if (name !== 'memory_backplane' && name !== 'public_route') t.notOk((await namesOf({})).includes(name))
  })
}

t.test('each sentence is one sentence, and each name is a plain word', async (t) => {
  for (const [name, sentence] of Object.entries(WARNINGS)) {
    t.match(name, /^[a-z]+(_[a-z]+)*$/)
    t.match(sentence, /^[A-Z][^|\n]*[^.]\.$/)
  }
})

t.test('the reference has each warning with its sentence', async (t) => {
  const text = section(readDocument('lib/README.md'), '## A review of all routes')
  const rows = [...text.slice(text.indexOf('| warning |')).matchAll(/^\| `(\w+)` \| (.+) \|$/gm)]
  t.strictSame(rows.map(([, name, sentence]) => [name, sentence]), Object.entries(WARNINGS))
})

t.test('a warning about a route is at that route alone', async (t) => {
  const { app } = await prepare(t, {
    plugin: GOOD,
    routes: (app) => {
      app.get('/good', { websocket: true }, () => {})
      app.get('/query', { websocket: true, wsAuth: { token: { query: true } } }, () => {})
    }
  })
  const [good, query] = app.wsAuth.inspect().routes
  t.notOk(good?.warnings.includes('token_in_query'))
  t.ok(query?.warnings.includes('token_in_query'))
})
