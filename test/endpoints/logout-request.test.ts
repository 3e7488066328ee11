/*
 * The request that has a logout token, what the rest of the app notices of it, and the options of the route.
 */
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { prepare, until } from '../helpers/app'
import { base64url } from '../helpers/keys'
import { accessToken, CLIENT, countIn, FORM, INVALID, isClosed, ISSUER, JWT, LOGGED_OUT, logOut, logoutClaims, logoutToken, PATH, post, REVOKED, sendForm, startClient } from '../helpers/logout-chat'
import type { LogoutSettings } from '../helpers/logout-chat'
import { upgrade } from '../helpers/raw-client'
import { hold, turn } from '../helpers/renewal-app'

/** What is posted in place of a form with one token. */
const WRONG_FORMS: Record<string, (token: string) => { body?: RequestInit['body'], contentType?: string | null, path?: string, status: number }> = {
  'without a body': () => ({ contentType: null, status: 400 }),
  'with an empty form': () => ({ body: '', status: 400 }),
  'with another parameter': (token) => ({ body: `token=${token}`, status: 400 }),
  'with a parameter in capitals': (token) => ({ body: `LOGOUT_TOKEN=${token}`, status: 400 }),
  'with an empty parameter': () => ({ body: 'logout_token=', status: 400 }),
  'with a parameter without a value': () => ({ body: 'logout_token', status: 400 }),
  'with the token twice': (token) => ({ body: `logout_token=${token}&logout_token=${token}`, status: 400 }),
  'with the token and an empty one': (token) => ({ body: `logout_token=${token}&logout_token=`, status: 400 }),
  'with an empty one and the token': (token) => ({ body: `logout_token=&logout_token=${token}`, status: 400 }),
  'with a list': (token) => ({ body: `logout_token[]=${token}`, status: 400 }),
  'with the token in the query': () => ({ body: '', path: `${PATH}?logout_token=${logoutToken({ sid: 'nobody' })}`, status: 400 }),
  'with the token in the query and no body': () => ({ contentType: null, path: `${PATH}?logout_token=${logoutToken({ sid: 'nobody' })}`, status: 400 }),
  'with JSON': (token) => ({ body: JSON.stringify({ logout_token: token }), contentType: 'application/json', status: 415 }),
  'with a text': (token) => ({ body: token, contentType: 'text/plain', status: 415 }),
  'with a JWT': (token) => ({ body: token, contentType: 'application/logout+jwt', status: 415 }),
  'with a form of many parts': (token) => ({ body: `--x\r\ncontent-disposition: form-data; name="logout_token"\r\n\r\n${token}\r\n--x--\r\n`, contentType: 'multipart/form-data; boundary=x', status: 415 }),
  'with a form that is said to be JSON': (token) => ({ body: `logout_token=${token}`, contentType: 'application/json', status: 415 }),
  'with more than a token can be': (token) => ({ body: `logout_token=${token}&more=${'x'.repeat(3 * 8192 + 1024)}`, status: 413 })
}

/** As @fastify/formbody does it. */
function addFormParser (app: FastifyInstance): void {
  app.addContentTypeParser(FORM, { parseAs: 'string' }, (_request, body, done) => { done(null, Object.fromEntries(new URLSearchParams(String(body)))) })
}

t.test('a logout request is a POST of a form with one token', async (t) => {
  const parsers: Record<string, LogoutSettings> = {
    'of an app without a parser for forms': {},
    'of an app with a parser of its own for forms': { before: addFormParser },
    'of an app that adds a parser for forms later': { routes: addFormParser },
    'of an app that parses any content type': { before: (app) => app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => { done(null, body) }) }
  }
  for (const [name, settings] of Object.entries(parsers)) {
    t.test(`the logout route ${name} takes exactly a form with one token`, async (t) => {
      const { port, connect } = await startClient(t, settings)
      const chat = await connect(accessToken())
      for (const [what, make] of Object.entries(WRONG_FORMS)) {
        const { body, contentType, path, status } = make(logoutToken())
        const answer = await post(port, body, contentType, path)
        t.equal(answer.status, status, what)
        if (status === 400) t.same(answer, INVALID, what)
      }
      t.ok(await chat.isHeard(), 'she is still there')
      t.same(await post(port, `more=1&logout_token=${logoutToken()}`, `${FORM}; charset=UTF-8`), LOGGED_OUT, 'parameters that nobody knows are ignored')
      t.same(await isClosed(chat), REVOKED)
    })
  }

  t.test('the logout route takes no method but POST', async (t) => {
    const { port, connect } = await startClient(t)
    const chat = await connect(accessToken())
    for (const method of ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
      const { status } = await fetch(`http://127.0.0.1:${port}${PATH}?logout_token=${logoutToken()}`, { method })
      t.equal(status, 404, method)
    }
    const { answer } = await upgrade(t, port, { path: PATH, headers: { authorization: `Bearer ${accessToken()}` } })
    t.equal(answer.status, 404, 'an upgrade')
    t.ok(await chat.isHeard())
  })

  t.test('a logout request may escape each character of a token of maxTokenBytes', async (t) => {
    const token = logoutToken()
    const { port } = await startClient(t, { plugin: { maxTokenBytes: token.length } })
    const escaped = [...token].map((character) => `%${character.charCodeAt(0).toString(16)}`).join('')
    t.same(await post(port, `logout_token=${escaped}`), LOGGED_OUT)
    t.same(await logOut(port, logoutToken({ more: 'x' })), INVALID, 'one that is longer is not read')
  })

  t.test('a logout is done, without an error in the log, if the provider does not wait for the answer', async (t) => {
    const held = hold()
    let isAsked = false
    const verify = async (token: string): Promise<object> => {
      const claims = JSON.parse(Buffer.from(token, 'base64url').toString())
      if (claims.events !== undefined) { isAsked = true; await held.wait() }
      return claims
    }
    let hasLeft = false
    const { port, log, connect } = await startClient(t, {
      plugin: { verify },
      before: (app) => app.server.on('connection', (socket) => socket.once('close', () => { hasLeft = true }))
    })
    const chat = await connect(base64url(JSON.stringify({ sub: 'ann', sid: 'first' })))
    const client = await sendForm(t, port, `logout_token=${base64url(JSON.stringify(logoutClaims()))}`)
    await until(() => isAsked, 'the verifier is asked')
    client.socket.resetAndDestroy()
    await until(() => hasLeft, 'the server has noticed')
    held.release()
    t.same(await isClosed(chat), REVOKED)
    await turn(50)
    t.equal(countIn(log, 'back-channel logout failed'), 0)
    t.equal(countIn(log, 'Reply was already sent'), 0)
  })
})

t.test('the logout route changes nothing else of the app', async (t) => {
  const seen: string[] = []
  const { port, app } = await startClient(t, {
    before: (app) => {
      app.addHook('onRequest', async (request) => { seen.push(`onRequest ${request.method}`) })
      app.addHook('preHandler', async () => { seen.push('preHandler') })
      app.addHook('onSend', async (_request, reply, payload) => { reply.header('x-app', 'mine'); return payload })
      app.addHook('onResponse', async (_request, reply) => { seen.push(`onResponse ${reply.statusCode}`) })
      app.setErrorHandler(async (error: Error & { statusCode?: number }, _request, reply) => {
        seen.push(`error handler ${error.statusCode ?? 500}`)
        return await reply.code(error.statusCode ?? 500).send({ mine: error.message })
      })
    },
    routes: (app) => {
      app.post('/json', async (request) => request.body)
      app.post('/failing', async () => { throw Object.assign(new Error('of the app'), { statusCode: 418 }) })
    }
  })
  t.same(await logOut(port, logoutToken()), LOGGED_OUT)
  t.same(seen.splice(0), ['onRequest POST', 'preHandler', 'onResponse 200'])
  t.same(await logOut(port, 'nothing'), INVALID, 'its error handler is not asked')
  t.same(seen.splice(0), ['onRequest POST', 'preHandler', 'onResponse 400'])
  t.equal((await post(port, '{}', 'application/json')).body, '{"mine":"Unsupported Media Type"}', 'what is no form is for its error handler')
  t.match(seen.splice(0), ['onRequest POST', 'error handler 415'])
  t.match(await post(port, '{"a":1}', 'application/json', '/json'), { status: 200, body: '{"a":1}' })
  t.match(await post(port, '{"a":', 'application/json', '/json'), { status: 400 })
  t.match(await post(port, 'a=1', FORM, '/json'), { status: 415 }, 'forms are understood by one route alone')
  t.match(await post(port, '{}', 'application/json', '/failing'), { status: 418, body: '{"mine":"of the app"}' })
  const response = await app.inject({ method: 'POST', url: PATH, payload: `logout_token=${logoutToken()}`, headers: { 'content-type': FORM } })
  t.match({ ...response.headers, status: response.statusCode }, { 'x-app': 'mine', 'cache-control': 'no-store', status: 200 }, 'also without a network')
  const refused = await app.inject({ method: 'POST', url: PATH, payload: 'logout_token=x', headers: { 'content-type': FORM } })
  t.equal(refused.headers['content-type'], 'application/json; charset=utf-8')
})

t.test('wrong options of backChannelLogout are named by a TypeError at registration', async (t) => {
  const wrong: Array<[unknown, RegExp]> = [
    [true, /"backChannelLogout" option must be false or \{ path, issuer, audience, match \}/],
    [{ issuer: ISSUER }, /"backChannelLogout\.path" option must be/],
    [{ path: 'logout', issuer: ISSUER }, /"backChannelLogout\.path" option must be/],
    [{ path: PATH }, /"backChannelLogout\.issuer" option must be/],
    [{ path: PATH, issuer: '' }, /"backChannelLogout\.issuer" option must be/],
    [{ path: PATH, issuer: [ISSUER] }, /"backChannelLogout\.issuer" option must be/],
    [{ path: PATH, issuer: ISSUER, audience: [CLIENT] }, /"backChannelLogout\.audience" option must be/],
    [{ path: PATH, issuer: ISSUER, audience: '' }, /"backChannelLogout\.audience" option must be/],
    [{ path: PATH, issuer: ISSUER, match: 'jti' }, /"backChannelLogout\.match" option must be 'sid' or 'sub'/],
    [{ path: PATH, issuer: ISSUER, ttl: 1 }, /"backChannelLogout\.ttl"/]
  ]
  for (const [backChannelLogout, message] of wrong) {
    await t.rejects(prepare(t, { plugin: { jwt: JWT, backChannelLogout: backChannelLogout as never } }), { name: 'TypeError', message }, JSON.stringify(backChannelLogout))
  }
})
