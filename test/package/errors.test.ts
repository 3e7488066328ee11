import createError from '@fastify/error'
import t from 'tap'
import { DEFAULT_CLOSE_CODES, WsAuthError, wsAuthErrors } from '../../lib/base/errors'
import type { WsAuthErrorCode } from '../../lib/base/errors'
import { challengeOf, retryAfterOf } from '../../lib/handshake/answer'

const table: Array<[code: WsAuthErrorCode, statusCode: number, close: [number, string] | null, challenge: string | undefined]> = [
  ['WS_AUTH_TOKEN_MISSING', 401, [3000, 'token_missing'], 'Bearer realm="websocket"'],
  ['WS_AUTH_TOKEN_INVALID', 401, [3000, 'token_invalid'], 'Bearer error="invalid_token"'],
  ['WS_AUTH_TOKEN_EXPIRED', 401, [3000, 'token_expired'], 'Bearer error="invalid_token"'],
  ['WS_AUTH_TOKEN_REVOKED', 401, [3000, 'token_revoked'], 'Bearer error="invalid_token"'],
  ['WS_AUTH_TOKEN_AMBIGUOUS', 400, [3000, 'token_ambiguous'], 'Bearer error="invalid_request"'],
  ['WS_AUTH_TICKET_INVALID', 401, [3000, 'ticket_invalid'], 'Bearer error="invalid_token"'],
  ['WS_AUTH_FORBIDDEN', 403, [3003, 'forbidden'], 'Bearer error="insufficient_scope"'],
  ['WS_AUTH_ORIGIN_FORBIDDEN', 403, [3003, 'origin_forbidden'], undefined],
  ['WS_AUTH_TIMEOUT', 408, [3008, 'auth_timeout'], undefined],
  ['WS_AUTH_LIMIT', 429, [4429, 'connection_limit'], undefined],
  ['WS_AUTH_BUSY', 503, [4503, 'server_busy'], undefined],
  ['WS_AUTH_UNAVAILABLE', 503, [4503, 'auth_unavailable'], undefined],
  ['WS_AUTH_HANDSHAKE_INVALID', 400, null, undefined],
  ['WS_AUTH_ROUTE_NOT_WEBSOCKET', 404, null, undefined],
  ['WS_AUTH_ROUTE_UNPROTECTED', 500, null, undefined]
]

t.test('the errors have the codes, statuses, close codes and challenges of the contract', async (t) => {
  t.strictSame(Object.keys(wsAuthErrors), table.map(([code]) => code))
  for (const [code, statusCode, close, challenge] of table) {
    const error = new WsAuthError(code)
    t.equal(error.code, code)
    t.equal(error.statusCode, statusCode)
    t.strictSame(error.close, close && { code: close[0], reason: close[1] })
    t.equal(error.message, wsAuthErrors[code].message)
    t.equal(challengeOf(code, null), challenge)
    t.match(retryAfterOf(code), statusCode === 503 || statusCode === 429 ? /^[1-5]$/ : undefined)
    t.ok(close === null || Buffer.byteLength(close[1]) <= 123, 'a reason fits into a close frame')
  }
  t.ok(Object.isFrozen(wsAuthErrors) && Object.values(wsAuthErrors).every((row) => Object.isFrozen(row)))
  t.strictSame(DEFAULT_CLOSE_CODES, { unauthorized: 3000, forbidden: 3003, timeout: 3008, limit: 4429, unavailable: 4503 })
})

t.test('a WsAuthError is an Error and a FastifyError', async (t) => {
  const cause = new Error('inner')
  const error = new WsAuthError('WS_AUTH_UNAVAILABLE', { cause })
  t.ok(error instanceof Error)
  t.equal(error.name, 'FastifyError')
  t.equal(error.cause, cause)
  t.strictSame([error.status, error.expose], [503, true], 'as http-errors has them')
  t.equal(String(error), 'FastifyError [WS_AUTH_UNAVAILABLE]: Authentication is unavailable')
  const { stackTraceLimit } = Error
  t.equal(Error.stackTraceLimit, stackTraceLimit)
  t.match(new Error('after').stack, 'errors.test', 'other errors keep their stack')
})

t.test('an error of another class is not an instance of WsAuthError, whatever its code is', async (t) => {
  class Own extends WsAuthError {}
  const Foreign = createError('WS_AUTH', 'of another package', 401)
  t.notOk(new WsAuthError('WS_AUTH_FORBIDDEN') instanceof Own)
  t.ok(new Own('WS_AUTH_FORBIDDEN') instanceof WsAuthError)
  t.notOk(new Foreign() instanceof WsAuthError)
  t.ok(new WsAuthError('WS_AUTH_FORBIDDEN') instanceof createError.FastifyError, 'it is one of Fastify')
})

t.test('a WsAuthError with an unknown code throws a TypeError', async (t) => {
  for (const code of ['WS_AUTH_OTHER', 'toString', '__proto__', '']) {
    t.throws(() => new WsAuthError(code as never), { name: 'TypeError', message: /^"code" must be one of WS_AUTH_TOKEN_MISSING, / })
  }
})
