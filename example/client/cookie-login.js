/*
 * A login by cookie that goes on while it is used: a page asks for a ticket before each handshake and each renewal, and the answer sets
 * the cookie anew. No script of the page sees a token. The token in the cookie may be short, because the connection renews it.
 *
 *   node example/client/cookie-login.js
 */
const { randomBytes } = require('node:crypto')
const { readFileSync } = require('node:fs')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')

const COOKIE = { httpOnly: true, sameSite: 'strict', path: '/', secure: process.env.NODE_ENV === 'production' }
const SECONDS = Number(process.env.TOKEN_SECONDS ?? 900)
const CLIENT = readFileSync(require.resolve('fastify-ws-auth/client.mjs'))

const app = Fastify({ logger: true })
app.register(fastifyWsAuth, {
  jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
  token: { header: false, query: false },
  tickets: { path: false } // the route below gives them
})
app.register(async () => {
  const logIn = (reply, sub) => {
    const token = app.jwt.sign({ sub }, { expiresIn: SECONDS })
    reply.setCookie('token', token, COOKIE)
    return app.jwt.decode(token)
  }
  app.post('/login', async ({ body }, reply) => { // check a password here
    logIn(reply, String(body?.name))
    return reply.code(204).send()
  })
  app.post('/ws-ticket', { onRequest: app.wsAuth.authenticate }, async ({ user }, reply) => {
    return app.wsAuth.issueTicket(logIn(reply, user.sub)) // { ticket, expiresIn }
  })
  app.get('/chat', { websocket: true }, (socket, request) => { socket.send(`hello ${request.user.sub}`) })
  app.get('/client.mjs', async (request, reply) => reply.type('text/javascript').send(CLIENT))
  app.get('/', async (request, reply) => reply.type('text/html').send(PAGE))
})
app.listen({ port: Number(process.env.PORT ?? 3000) })

const PAGE = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Cookie</title>
<p><button>ann</button> <span id="state" role="status"></span></p><ul></ul>
<script type="module">
import { connect } from '/client.mjs'
const socket = connect('/chat', { ticket: true }) // posts to /ws-ticket, with the cookie
socket.onmessage = ({ data }) => { document.querySelector('ul').appendChild(document.createElement('li')).textContent = data }
socket.subscribe(() => { document.querySelector('#state').textContent = socket.state.status + ' ' + (socket.state.end?.reason ?? '') })
document.querySelector('button').onclick = async ({ target }) => {
  await fetch('/login', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ name: target.textContent }) })
  socket.reconnect()
}
</script>`
