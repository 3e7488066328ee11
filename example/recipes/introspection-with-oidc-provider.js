/*
 * Opaque access tokens: the provider is asked about each token (introspection, RFC 7662), at the handshake and then once a minute. A token
 * that the provider has revoked closes its connection within that minute.
 *
 *   ISSUER=https://issuer.example CLIENT_ID=chat-api CLIENT_SECRET=... node example/recipes/introspection-with-oidc-provider.js
 */
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')

const { ISSUER, CLIENT_ID, CLIENT_SECRET, AUDIENCE = 'chat', INTROSPECTION_URI = `${ISSUER}/token/introspection`, EVERY = 60_000, PORT = 3000 } = process.env

const app = Fastify({ logger: true })
const authorization = `Basic ${Buffer.from([CLIENT_ID, CLIENT_SECRET].map(encodeURIComponent).join(':')).toString('base64')}`

/** The claims of a token, or `null` if it does not count, or no more. */
async function introspect (token, signal) {
  const body = new URLSearchParams({ token, token_type_hint: 'access_token' })
  const response = await fetch(INTROSPECTION_URI, { method: 'POST', headers: { authorization }, body, signal })
  // A provider that is down, or does not know this server, says nothing about the token: 503, and open connections stay.
  if (!response.ok) throw new Error(`the introspection endpoint answered ${response.status}`)
  const { active, ...claims } = await response.json()
  const isForUs = active === true && [claims.aud].flat().includes(AUDIENCE)
  // The claims keep the token, because the provider is asked about it again.
  return isForUs ? { ...claims, token } : null
}

app.register(fastifyWsAuth, {
  verify: (token, request, { signal }) => introspect(token, signal),
  user: ({ token, ...user }) => user,
  recheck: { every: Number(EVERY), check: ({ claims }, { signal }) => introspect(claims.token, signal) }
})
app.register(async () => {
  app.get('/chat', { websocket: true, wsAuth: { scopes: ['chat'] } }, (socket, request) => {
    socket.send(`hello ${request.user.sub}`)
  })
})
app.listen({ port: Number(PORT) })
