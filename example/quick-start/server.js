// A chat with roles: a member may read and write, only an admin may clear.
const { randomBytes } = require('node:crypto')
const { readFileSync } = require('node:fs')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')

const USERS = new Map([['ann', ['member']], ['bea', ['member', 'admin']], ['eve', []]])
const COOKIE = { httpOnly: true, sameSite: 'strict', path: '/', secure: process.env.NODE_ENV === 'production' }
const CLIENT = readFileSync(require.resolve('fastify-ws-auth/client.mjs')) // an ES module
const app = Fastify({ logger: true })
app.register(fastifyWsAuth, {
  jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
  rejectWith: 'auto', // a page gets a close code, because a browser hides the status of a refused handshake
  websocket: { options: { maxPayload: 4096 } }
})
app.register(async () => {
  const sockets = new Set()
  const send = (socket, from, text) => socket.send(JSON.stringify({ from, text }))
  app.get('/', async (request, reply) => reply.type('text/html').send(PAGE))
  app.get('/client.mjs', async (request, reply) => reply.type('text/javascript').send(CLIENT))
  app.post('/login', async ({ body }, reply) => {
    if (!USERS.has(body?.name)) return reply.code(401).send() // check a password here
    const token = app.jwt.sign({ sub: body.name, roles: USERS.get(body.name) }, { expiresIn: '1h' })
    return reply.setCookie('token', token, COOKIE).code(204).send()
  })

  app.get('/chat', { websocket: true, wsAuth: { roles: ['member'] } }, (socket, request) => {
    sockets.add(socket) // only members come here
    socket.on('close', () => sockets.delete(socket))
    send(socket, 'server', `hello ${request.user.sub}`)
    socket.on('message', (data) => {
      const [{ sub, roles }, text] = [request.user, String(data)]
      if (text === '/clear' && !roles.includes('admin')) return send(socket, 'server', 'only an admin may clear')
      for (const each of sockets) send(each, sub, text)
    })
  })
})
app.listen({ port: Number(process.env.PORT ?? 3000) })

const PAGE = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Chat</title>
<p>Log in as <button>ann</button> <button>bea</button> <button>eve</button></p>
<form><input aria-label="Message" placeholder="a message, or /clear" required></form><ul></ul>
<script type="module">
import { connect } from '/client.mjs'
const [form, input, list] = ['form', 'input', 'ul'].map((tag) => document.querySelector(tag))
const show = (line) => { list.appendChild(document.createElement('li')).textContent = line }
const socket = connect('/chat') // with the cookie; it comes back after failures, and stops if it is refused
socket.onmessage = ({ data }) => {
  const { from, text } = JSON.parse(data)
  if (text === '/clear') list.replaceChildren()
  show(from + ': ' + text)
}
socket.subscribe(() => show(socket.state.status + ' ' + (socket.state.end?.reason ?? '')))
form.onsubmit = (event) => { event.preventDefault(); socket.send(input.value); form.reset() }
for (const button of document.querySelectorAll('button')) button.onclick = async ({ target }) => {
  const headers = { 'content-type': 'application/json' }
  await fetch('/login', { method: 'POST', headers, body: JSON.stringify({ name: target.textContent }) })
  socket.reconnect()
}
</script>`
