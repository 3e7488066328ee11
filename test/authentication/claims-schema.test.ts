/*
 * The `claims` option before the app is ready. What validators do is in the long file of this name.
 */
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import t from 'tap'
import fastifyWsAuth from '../../lib/index'
import { SECRET, sign } from '../helpers/app'

t.test('a request before the schema is compiled gets 503, and no token is admitted', async (t) => {
  const log: string[] = []
  const app = Fastify({ logger: { stream: { write: (line) => { log.push(line) } } }, serverFactory: (handle) => createServer(handle) })
  const server = app.server as Server
  t.teardown(async () => {
    await app.close()
    // Fastify closes the server only if it was `app.listen` that opened it.
    server.close()
    server.closeAllConnections()
  })
  const answers: Array<[status: number, code: string]> = []
  const ask = async (tenant: string): Promise<void> => {
    const { port } = server.address() as AddressInfo
    const answer = await fetch(`http://127.0.0.1:${port}/chat`, { headers: { authorization: `Bearer ${sign({ sub: 'ann', tenant })}` } })
    answers.push([answer.status, (await answer.json() as { code: string }).code])
  }
  // This hook is called before that of the plugin, and the server listens already.
  app.addHook('onReady', async () => {
    await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
    await ask('acme')
    await ask('evil')
  })
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, claims: { type: 'object', required: ['tenant'], properties: { tenant: { const: 'acme' } } } })
  app.get('/chat', { websocket: true }, () => {})
  await app.ready()
  t.strictSame(answers.splice(0), [[503, 'WS_AUTH_UNAVAILABLE'], [503, 'WS_AUTH_UNAVAILABLE']])
  t.ok(log.some((line) => line.includes('the app is not ready yet')), 'the log says why')
  await ask('evil')
  t.strictSame(answers, [[401, 'WS_AUTH_TOKEN_INVALID']])
})
