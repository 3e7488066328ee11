/*
 * A subscriber that throws would end the process of the tests: it has one of its own.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { SECRET, sign } from '../helpers/app'

t.test('a subscriber that throws disturbs no connection and no other subscriber, and its error is logged', async (t) => {
  // In a process of its own, for that of the tests would end.
  const script = `
    const { subscribe } = require('node:diagnostics_channel')
    const Fastify = require('fastify')
    const fastifyWsAuth = require(${JSON.stringify(require.resolve('../../lib/index'))})
    const { WebSocket } = require('ws')
    let thrown = 0, got = 0
    subscribe('fastify-ws-auth', () => { throw new Error('thrown by a test') })
    subscribe('fastify-ws-auth', () => { got++ })
    const app = Fastify({ logger: { stream: { write (line) { if (JSON.parse(line).err?.message === 'thrown by a test') thrown++ } } } })
    app.register(fastifyWsAuth, { jwt: { secret: ${JSON.stringify(SECRET)} } })
    app.after(() => { app.get('/chat', { websocket: true }, (socket) => socket.on('message', (data) => socket.send(String(data)))) })
    app.listen({ port: 0, host: '127.0.0.1' }).then((address) => {
      const client = new WebSocket(address.replace('http', 'ws') + '/chat', { headers: { authorization: 'Bearer ${sign()}' } })
      client.on('open', () => client.send('hello'))
      client.on('message', (data) => { client.close(); client.on('close', async () => {
        await app.close()
        console.log(JSON.stringify({ data: String(data), thrown, got, stats: app.wsAuth.stats() }))
      }) })
    })`
  const { stdout } = await promisify(execFile)(process.execPath, [...process.execArgv, '--input-type=commonjs', '-e', script])
  t.match(JSON.parse(stdout), { data: 'hello', thrown: 2, got: 2, stats: { accepted: 1, closed: { client: 1 } } })
})
