/*
 * `revokeLostKeys`, with a real issuer on the loopback interface, whose keys change while connections are open.
 */
import t from 'tap'
import type { Test } from 'tap'
import Fastify from 'fastify'
import fastifyWsAuth, { memoryBackplane, revokeLostKeys } from '../../lib/index'
import { prepare, until } from '../helpers/app'
import { setClock } from '../helpers/moved-clock'
import { SigningKey, startIssuer } from '../helpers/jwks-server'
import type { Issuer } from '../helpers/jwks-server'
import { startChat } from '../helpers/renewal-app'
import type { ChatApp } from '../helpers/renewal-app'
import { answerTo, closeOf, REVOKED } from '../helpers/revoked'

const EVERY = 20
const GRACE = 200
const [ONE, TWO, THREE] = [new SigningKey('one'), new SigningKey('two'), new SigningKey('three')]

type Line = Record<string, unknown> & { level: number, msg: string }

const LOST = 'the key is no longer published'
const UNREADABLE = 'the published keys cannot be read: none is taken to have left'
const REPLACED = 'all published keys were replaced at once: none is revoked. If they are right, revoke the old ones by kid'

async function startApp (t: Test, issuer: Issuer, settings: Partial<fastifyWsAuth.RevokeLostKeysOptions> = {}, backplane = memoryBackplane()): Promise<ChatApp & { lines: () => Line[] }> {
  const { createRemoteJWKSet, jwtVerify } = await import('jose')
  const keys = createRemoteJWKSet(new URL(issuer.jwksUri), { cooldownDuration: 0 })
  const started = await startChat(t, {
    plugin: { backplane, verify: async (token) => (await jwtVerify(token, keys)).payload },
    routes: (app) => { revokeLostKeys(app, { url: issuer.jwksUri, every: EVERY, grace: GRACE, ...settings }) }
  })
  return { ...started, lines: () => started.log.map((line) => JSON.parse(line) as Line) }
}

/** Resolves when the keys have been read so many times more. */
async function untilRead (issuer: Issuer, times: number): Promise<void> {
  const read = issuer.asked.length + times
  await until(() => issuer.asked.length >= read, `the keys are read ${times} times`)
}

function tokenBy (key: SigningKey, sub = 'ann'): string {
  return key.sign({ sub, iat: Math.floor(Date.now() / 1000) - 5, exp: Math.floor(Date.now() / 1000) + 600 })
}

t.test('a key that leaves the set is revoked after the grace, on all instances, and by one of them', async (t) => {
  const issuer = await startIssuer(t, ONE.jwk, TWO.jwk)
  const backplane = memoryBackplane()
  const apps = [await startApp(t, issuer, {}, backplane), await startApp(t, issuer, {}, backplane)]
  const [byOne, byTwo] = [await Promise.all(apps.map(async ({ connect }) => await connect(tokenBy(ONE)))), await Promise.all(apps.map(async ({ connect }) => await connect(tokenBy(TWO))))]
  const ahead = await (apps[0] as ChatApp).connect(ONE.sign({ sub: 'eve', iat: Math.floor(Date.now() / 1000) + 59 }))
  await untilRead(issuer, 4)
  const leftAt = performance.now()
  issuer.keys = [TWO.jwk, THREE.jwk]
  for (const chat of [...byOne, ahead]) t.strictSame(await closeOf(chat), REVOKED)
  t.ok(performance.now() - leftAt >= GRACE, 'not before the grace')
  for (const chat of byTwo) t.ok(await chat.isHeard())
  await untilRead(issuer, 10)
  const told = apps.flatMap(({ lines }) => lines().filter(({ command }) => command === 'revoke'))
  t.match(told, [{ match: { kid: 'one' }, by: 'revokeLostKeys', why: LOST, level: 30 }])
  t.equal(told.length, 1, 'the other instance finds it revoked')
  t.equal(apps[0]?.lines().filter(({ msg, kid }) => kid === 'one' && msg.startsWith('a key is no longer published')).length, 1)

  issuer.keys = [ONE.jwk, TWO.jwk]
  for (const { port } of apps) {
    t.equal(await answerTo(t, port, tokenBy(ONE)), '401 WS_AUTH_TOKEN_REVOKED', 'a token of before stays revoked')
    t.equal(await answerTo(t, port, ONE.sign({ sub: 'ann', iat: Math.floor(Date.now() / 1000) + 2 })), '401 WS_AUTH_TOKEN_REVOKED', 'the holder of the key chooses the iat')
  }
  setClock(t, 63_000)
  for (const { port } of apps) t.equal(await answerTo(t, port, ONE.sign({ sub: 'ann', iat: Math.floor(Date.now() / 1000) })), '101', 'a key that is back signs new tokens')
})

t.test('keys that go back and forth within the grace are not revoked', async (t) => {
  const issuer = await startIssuer(t, ONE.jwk, TWO.jwk)
  const { app, connect, lines } = await startApp(t, issuer, { grace: 60_000 })
  const [byOne, byTwo] = [await connect(tokenBy(ONE)), await connect(tokenBy(TWO))]
  for (let i = 0; i < 6; i++) {
    issuer.keys = i % 2 === 0 ? [TWO.jwk, THREE.jwk] : [ONE.jwk, TWO.jwk]
    await untilRead(issuer, 3)
  }
  t.ok(await byOne.isHeard())
  t.ok(await byTwo.isHeard())
  t.equal(app.wsAuth.stats().closed.token_revoked, 0)
  t.strictSame(lines().filter(({ level }) => level >= 40), [])
})

/** Answers that say nothing about a key. */
const BROKEN: Record<string, Issuer['answer']> = {
  empty: (_request, response) => { response.end('{"keys":[]}') },
  'an error': (_request, response) => { response.writeHead(503).end(JSON.stringify({ keys: [TWO.jwk] })) },
  'no JSON': (_request, response) => { response.end('<html></html>') },
  'half of it': (_request, response) => { response.end(JSON.stringify({ keys: [TWO.jwk, ONE.jwk] }).slice(0, -9)) },
  'a key that is not whole': (_request, response) => { response.end(JSON.stringify({ keys: [TWO.jwk, { kty: 'RSA', kid: 'one' }] })) },
  'the end of the connection': (request) => { request.socket.destroy() },
  'other keys altogether': (_request, response) => { response.end(JSON.stringify({ keys: [THREE.jwk] })) }
}

t.test('no answer that is empty, broken, an error or of other keys revokes a key, however long it is given', async (t) => {
  await Promise.all(Object.entries(BROKEN).map(async ([name, answer]) => {
    const issuer = await startIssuer(t, ONE.jwk, TWO.jwk)
    const { app, connect, lines } = await startApp(t, issuer)
    const chats = [await connect(tokenBy(ONE)), await connect(tokenBy(TWO))]
    await untilRead(issuer, 3)
    issuer.answer = answer
    const begunAt = performance.now()
    await until(() => performance.now() - begunAt > 2 * GRACE, 'the grace is over')
    await untilRead(issuer, 5)
    for (const chat of chats) t.ok(await chat.isHeard(), name)
    t.equal(app.wsAuth.stats().closed.token_revoked, 0, name)
    const warned = lines().filter(({ level }) => level >= 40)
    t.strictSame(warned.map(({ msg }) => msg), [name === 'other keys altogether' ? REPLACED : UNREADABLE], `${name}: one line`)
    t.notOk(warned.some((line) => JSON.stringify(line).includes('<html>')))
    issuer.answer = null
    await untilRead(issuer, 3)
    for (const chat of chats) t.ok(await chat.isHeard(), name)
  }))
})

t.test('an endpoint that is down, or never answers, revokes no key, and the app starts and closes', async (t) => {
  const issuer = await startIssuer(t, ONE.jwk)
  await issuer.stop()
  const down = await startApp(t, issuer)
  await until(() => down.lines().some(({ msg }) => msg === UNREADABLE), 'it is told')
  await issuer.start()
  await until(() => down.lines().some(({ msg }) => msg === 'the published keys are read again'), 'it goes on')
  const signals: AbortSignal[] = []
  const { app } = await startApp(t, issuer, { fetch: async (_url, { signal }) => { signals.push(signal); return await new Promise(() => {}) } })
  await app.close()
  t.same(signals.map(({ aborted }) => aborted), [true], 'what waits is aborted')
})

t.test('the keys are not read after the app has closed', async (t) => {
  const issuer = await startIssuer(t, ONE.jwk)
  const { app } = await startApp(t, issuer)
  await untilRead(issuer, 3)
  await app.close()
  const { length } = issuer.asked
  await new Promise((resolve) => setTimeout(resolve, 10 * EVERY))
  t.equal(issuer.asked.length, length)
})

t.test('a wrong option, and an app without the plugin, are TypeErrors', async (t) => {
  const { app } = await prepare(t)
  const wrong: Array<[options: unknown, message: string]> = [
    [undefined, '"options" option must be an object'], ['https://a.example', '"options" option must be an object'],
    [{}, '"url" option must be an http or https URL without a user and a password'],
    ...['a', 'ftp://a.example', 'https://ann:secret@a.example', 5, null].map((url): [unknown, string] => [{ url }, '"url" option must be an http or https URL without a user and a password']),
    [{ url: 'https://a.example', every: 0 }, '"every" option must be an integer from 1 to 2147483647'],
    [{ url: 'https://a.example', grace: '1h' }, '"grace" option must be an integer from 1 to 2147483647'],
    [{ url: 'https://a.example', fetch: 'x' }, '"fetch" option must be a function'],
    [{ url: 'https://a.example', interval: 5 }, '"interval" option must be left out: there is no such option']
  ]
  for (const [options, message] of wrong) t.throws(() => revokeLostKeys(app, options as never), { name: 'TypeError', message })
  for (const other of [Fastify(), {}, null]) {
    t.throws(() => revokeLostKeys(other as never, { url: 'https://a.example' }), { name: 'TypeError', message: 'revokeLostKeys() must be given an app in which fastify-ws-auth is registered' })
  }
})
