/*
 * Functions of an app that throw errors which hold the token of the client.
 */
import type { FastifyRequest } from 'fastify'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { send, spy, traces } from './spied-app'

/** It has characters that are written otherwise in a URL, in JSON and in a form. */
export const LEAKED = 'canary+/"5f3a9c71d2b84e06=='
const written = (text: string): Error => new Error(text)
/** Errors of the app that hold a token, by the place where they do. */
export const ERRORS: Record<string, (token: string) => unknown> = {
  'in its message': (token) => written(`401 for ${token}`),
  'in its stack alone': (token) => Object.assign(new Error('x'), { stack: `Error: x\n    at verify("${token}")` }),
  'in its name': (token) => Object.assign(new Error('x'), { name: `Error of ${token}` }),
  'in its code': (token) => Object.assign(new Error('x'), { code: `E_${token}` }),
  'in its cause': (token) => new Error('x', { cause: new Error('y', { cause: new TypeError(`401 for ${token}`) }) }),
  'in a cause that is text': (token) => new Error('x', { cause: `401 for ${token}` }),
  'in a cause that is an object': (token) => new Error('x', { cause: { config: { headers: { authorization: `Bearer ${token}` } } } }),
  'in the request of an HTTP client': (token) => Object.assign(new Error('Request failed with status code 401'), {
    isAxiosError: true,
    code: 'ERR_BAD_REQUEST',
    config: { url: 'https://issuer.example/introspect', headers: { authorization: `Bearer ${token}` }, data: `token=${encodeURIComponent(token)}` },
    request: { _header: `POST / HTTP/1.1\r\nauthorization: Bearer ${token}` }
  }),
  'in its errors': (token) => new AggregateError([new Error(`401 for ${token}`)], 'all failed'),
  'in toJSON': (token) => Object.assign(new Error('x'), { toJSON: () => ({ token }) }),
  'as text': (token) => `401 for ${token}`,
  'as an object': (token) => ({ message: `401 for ${token}`, token, config: { token } }),
  // An HTTP client says what it sent, and that is the token in another writing.
  'percent-encoded': (token) => written(`fetch failed: https://issuer.example/introspect?token=${encodeURIComponent(token)}`),
  'as in a form': (token) => written(`failed: ${new URLSearchParams({ token }).toString()}`),
  'in JSON': (token) => written(`failed: ${JSON.stringify({ token })}`),
  'in base64': (token) => written(`failed: Basic ${Buffer.from(token).toString('base64')}`),
  'in base64url': (token) => written(`failed: ${Buffer.from(token).toString('base64url')}`),
  // A WsAuthError of the app's own is used as it is, but for what the app put into it.
  'in the cause of a WsAuthError': (token) => new fastifyWsAuth.WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: new Error(`401 for ${token}`) }),
  'in the cause of a WsAuthError that is text': (token) => new fastifyWsAuth.WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: `401 for ${token}` }),
  'in the cause of a WsAuthError that is an object': (token) => new fastifyWsAuth.WsAuthError('WS_AUTH_FORBIDDEN', { cause: { config: { token } } }),
  'in the cause of a WsAuthError of status 503': (token) => new fastifyWsAuth.WsAuthError('WS_AUTH_UNAVAILABLE', { cause: Object.assign(new Error('x'), { config: { token } }) }),
  'in a property of a WsAuthError': (token) => Object.assign(new fastifyWsAuth.WsAuthError('WS_AUTH_UNAVAILABLE'), { config: { token } }),
  'in an error of jsonwebtoken': (token) => Object.assign(new Error(`invalid token: ${token}`), { name: 'JsonWebTokenError', token }),
  'in an error of jose': (token) => Object.assign(new Error(`invalid token: ${token}`), { code: 'ERR_JWS_INVALID', token }),
  'in an error of fast-jwt': (token) => Object.assign(new Error(`invalid token: ${token}`), { code: 'FAST_JWT_MALFORMED', token })
}
const PLACES = ['verify', 'verify, later', 'origin', 'user', 'roles', 'scopes', 'authorize', 'authorize, later'] as const
type Place = typeof PLACES[number]
interface Case { place?: Place, what?: string }
const caseOf = ({ headers }: FastifyRequest): Case => ({ place: headers['x-place'] as Place, what: String(headers['x-what']) })
const failAt = (here: Place, { place, what }: Case): void => { if (place === here) throw ERRORS[what ?? '']?.(LEAKED) }
const failLater = async (here: Place, at: Case): Promise<void> => { failAt(here, at) }
const plugin: fastifyWsAuth.WsAuthOptions = {
  verify: (_token, request) => {
    failAt('verify', caseOf(request))
    return failLater('verify, later', caseOf(request)).then(() => ({ sub: 'x', ...caseOf(request) }))
  },
  origin: (_origin, request) => { failAt('origin', caseOf(request)); return true },
  user: (claims) => failLater('user', claims as Case).then(() => claims),
  roles: (claims) => { failAt('roles', claims as Case); return ['x'] },
  scopes: (claims) => { failAt('scopes', claims as Case); return ['x'] }
}
const authorize = async (_user: unknown, request: FastifyRequest): Promise<boolean> => {
  await failLater('authorize, later', caseOf(request))
  return true
}
const wsAuth: fastifyWsAuth.RouteWsAuth = {
  roles: ['x'],
  scopes: ['x'],
  authorize: (user, request) => { failAt('authorize', caseOf(request)); return authorize(user, request) }
}

/** Each function of the app throws each of the errors, which have to leave no trace of the token. */
export async function assertNoTraceOfErrors (t: Test, isCustom: boolean, rejectWith: 'http' | 'close', places: readonly Place[] = PLACES): Promise<void> {
  const app = await spy(t, {
    isCustom,
    plugin: { ...plugin, rejectWith, handshakeTimeout: 2000 },
    routes: (app) => { app.get('/throwing', { websocket: true, wsAuth }, (socket) => { socket.send('hello') }) }
  })
  for (const place of places) {
    await t.test(`an error that ${place} throws takes no token with it, with rejectWith '${rejectWith}'${isCustom ? ' and the app\'s own error handlers' : ''}`, async (t) => {
      for (const what of Object.keys(ERRORS)) {
        app.seen.length = app.log.length = 0
        const headers = { authorization: `Bearer ${LEAKED}`, origin: 'https://example.com', 'x-place': place, 'x-what': what }
        const answer = await send(t, app, { path: '/throwing', headers })
        t.ok(rejectWith === 'close' ? answer.status === 101 : [401, 403, 503].includes(answer.status), `${what}: ${answer.status}`)
        t.notMatch(answer.text, 'hello', `${what}: refused`)
        t.same(traces([...app.log, ...app.seen, answer.text].join('\n'), LEAKED), [], what)
      }
    })
  }
}
