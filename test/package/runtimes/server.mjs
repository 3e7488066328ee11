// The smallest server, for runtimes that are not Node.js. Prints its port, or why it cannot start.
import Fastify from 'fastify'
import fastifyWsAuth from 'fastify-ws-auth'

const app = Fastify()
try {
  await app.register(fastifyWsAuth, { jwt: { secret: process.env.JWT_SECRET }, token: { message: { maxBytes: 1024 } } })
  app.get('/chat', { websocket: true, wsAuth: { roles: ['member'] } }, (socket, request) => {
    socket.send(`hello ${request.user.sub} on ${typeof Deno === 'undefined' ? 'another runtime' : 'Deno'}`)
    socket.on('message', (data) => socket.send(`got ${data}`))
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  process.on('SIGTERM', () => { app.close() })
  console.log(`listening on ${app.server.address().port}`)
} catch (error) {
  console.log(`${error.name}: ${error.message}`)
  process.exitCode = 1
}
