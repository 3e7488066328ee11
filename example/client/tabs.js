/*
 * A refresh token that is good for one use, and any number of tabs: a lock of the browser lets one tab refresh at a time, and each has
 * the newest cookie then. Without the lock, two tabs that refresh at once log the user out.
 *
 *   node example/client/tabs.js
 */
const { randomBytes, randomUUID } = require('node:crypto')
const { readFileSync } = require('node:fs')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')

const COOKIE = { httpOnly: true, sameSite: 'strict', path: '/refresh', secure: process.env.NODE_ENV === 'production' }
const SECONDS = Number(process.env.TOKEN_SECONDS ?? 600)
/** How long a spent refresh token is still good, in milliseconds: a page that is closed while it refreshes gets no answer. */
const LEEWAY = Number(process.env.LEEWAY ?? 5000)
const CLIENT = readFileSync(require.resolve('fastify-ws-auth/client.mjs'))

const app = Fastify({ logger: true })
app.register(fastifyWsAuth, { jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') }, rejectWith: 'auto', token: { header: false, query: false } })
app.register(async () => {
  const users = new Map() // by refresh token
  const spent = new Map()
  const logIn = (reply, sub) => {
    const id = randomUUID()
    users.set(id, sub)
    return reply.setCookie('refresh', id, COOKIE)
  }
  app.post('/login', async ({ body }, reply) => logIn(reply, String(body?.name)).code(204).send()) // check a password here
  app.post('/refresh', async ({ cookies: { refresh } }, reply) => {
    const sub = users.get(refresh)
    if (sub === undefined) {
      // A token that comes a second time was stolen, as far as the server can know: it ends all logins of its user.
      for (const [id, user] of users) if (user === spent.get(refresh)) users.delete(id)
      return reply.clearCookie('refresh', COOKIE).code(401).send()
    }
    setTimeout(() => {
      users.delete(refresh)
      spent.set(refresh, sub)
    }, LEEWAY)
    logIn(reply, sub)
    return { token: app.jwt.sign({ sub }, { expiresIn: SECONDS }), expiresIn: SECONDS * 1000 }
  })
  app.get('/chat', { websocket: true }, (socket, request) => { socket.send(`hello ${request.user.sub}`) })
  app.get('/client.mjs', async (request, reply) => reply.type('text/javascript').send(CLIENT))
  app.get('/', async (request, reply) => reply.type('text/html').send(PAGE))
})
app.listen({ port: Number(process.env.PORT ?? 3000) })

const PAGE = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Tabs</title>
<p><button>ann</button> <span id="state" role="status"></span></p><ul></ul>
<script type="module">
import { connect } from '/client.mjs'
// The signal ends the wait for the lock. A refresh that has begun goes on, because the server has spent the old token.
const token = ({ signal }) => navigator.locks.request('refresh', { signal }, async () => {
  const response = await fetch('/refresh', { method: 'POST' })
  return response.status === 401 ? null : response.json()
})
const socket = connect('/chat', { token })
socket.onmessage = ({ data }) => { document.querySelector('ul').appendChild(document.createElement('li')).textContent = data }
socket.subscribe(() => { document.querySelector('#state').textContent = socket.state.status + ' ' + (socket.state.end?.reason ?? '') })
document.querySelector('button').onclick = async ({ target }) => {
  await fetch('/login', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ name: target.textContent }) })
  socket.reconnect()
}
</script>`
