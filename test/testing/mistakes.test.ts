/*
 * Mistakes in a test of an app, each of which would make another test than the one that was meant: none passes in silence.
 */
import Fastify from 'fastify'
import t from 'tap'
import fastifyWsAuth from '../../lib/index'
import { testServer } from '../../lib/testing/client'
import { blackhole, expectClose, moveClock, restoreClock, signIn } from '../../lib/testing/index'
import { SECRET } from '../helpers/app'

const app = Fastify()
t.teardown(() => app.close())
t.before(async () => {
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET } })
  app.get('/chat', { websocket: true }, () => {})
})

/** Calls a function with arguments that its types forbid. */
function call (of: unknown, ...args: unknown[]): Promise<unknown> {
  return (of as (...args: unknown[]) => Promise<unknown>)(...args)
}

t.test('an option that does not exist is a TypeError that names it', async (t) => {
  t.teardown(restoreClock)
  const socket = await app.injectWS('/chat', await signIn(app, { sub: 'ann' }))
  t.teardown(() => socket.terminate())
  await t.rejects(call(signIn, app, { sub: 'ann' }, { expires: 60 }), new TypeError('"options.expires" must be left out: there is no such option; did you mean "expiresIn"?'))
  await t.rejects(call(moveClock, 5, { jmp: true }), new TypeError('"options.jmp" must be left out: there is no such option; did you mean "jump"?'))
  await t.rejects(call(expectClose, socket, 'token_expired', { timeOut: 5 }), new TypeError('"options.timeOut" must be left out: there is no such option; did you mean "timeout"?'))
  await t.rejects(call(expectClose, socket, { status: 401 }), new TypeError('"expected.status" must be left out: there is no such option'))
  await t.rejects(call(testServer, { tickets: true }), new TypeError('"options.tickets" must be left out: there is no such option'))
})

t.test('an argument of another kind is a TypeError that names it', async (t) => {
  await t.rejects(call(signIn, app, 'ann'), new TypeError('"claims" must be an object'))
  await t.rejects(call(signIn, app, {}, 60_000), new TypeError('"options" must be an object'))
  await t.rejects(call(expectClose, undefined), new TypeError('"socket" must be a WebSocket'))
  await t.rejects(call(blackhole, undefined), new TypeError('"target" must be an app that listens, or a URL, or a port'))
})

t.test('a promise of a socket that is not awaited is a TypeError that says so', async (t) => {
  const opening = app.injectWS('/chat', await signIn(app, { sub: 'ann' }))
  await t.rejects(call(expectClose, opening, 'token_expired'), new TypeError('"socket" must be a WebSocket, and is a promise: await it'))
  ;(await opening).terminate()
})
