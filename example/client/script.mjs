/*
 * A script that stays connected: it logs in, gets a token whenever it needs one, and prints what comes. Node.js 20 has no WebSocket of
 * its own; with that of ws, the token goes into a header.
 *
 *   SERVER=http://localhost:3000 node example/client/script.mjs      beside example/client/server.js
 */
import { connect } from 'fastify-ws-auth/client'
import { WebSocket } from 'ws'

const { SERVER = 'http://localhost:3000', NAME = 'ann' } = process.env

const login = await fetch(`${SERVER}/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ name: NAME }) })
const cookie = login.headers.getSetCookie().map((line) => line.split(';')[0]).join('; ')

async function token ({ signal }) {
  const response = await fetch(`${SERVER}/token`, { method: 'POST', headers: { cookie }, signal })
  if (response.status === 401) return null // the login has ended, and the script ends with it
  return response.json()
}

const socket = connect(`${SERVER}/chat`, {
  token,
  via: 'header',
  create: (url, protocols, headers) => new WebSocket(url, protocols, { headers })
})
socket.subscribe(() => console.error(socket.state))
process.once('SIGTERM', () => socket.close())

for await (const line of socket.messages()) console.log(line)
