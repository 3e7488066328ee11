import { WsAuthError, wsAuthErrors } from 'fastify-ws-auth'
import type { WsAuthErrorCode } from 'fastify-ws-auth'
import { expect, test } from 'tstyche'

test('a code is a row of the table', () => {
  expect<WsAuthErrorCode>().type.toBe<keyof typeof wsAuthErrors>()
  expect<WsAuthErrorCode>().type.toBe<'WS_AUTH_TOKEN_MISSING' | 'WS_AUTH_TOKEN_INVALID' | 'WS_AUTH_TOKEN_EXPIRED' |
    'WS_AUTH_TOKEN_REVOKED' | 'WS_AUTH_TOKEN_AMBIGUOUS' | 'WS_AUTH_TICKET_INVALID' | 'WS_AUTH_FORBIDDEN' |
    'WS_AUTH_ORIGIN_FORBIDDEN' | 'WS_AUTH_TIMEOUT' | 'WS_AUTH_LIMIT' | 'WS_AUTH_BUSY' | 'WS_AUTH_UNAVAILABLE' |
    'WS_AUTH_HANDSHAKE_INVALID' | 'WS_AUTH_ROUTE_NOT_WEBSOCKET' | 'WS_AUTH_ROUTE_UNPROTECTED'>()
})

test('an error is made of a code, and of a cause where there is one', () => {
  expect(WsAuthError).type.toBeConstructableWith('WS_AUTH_FORBIDDEN')
  expect(WsAuthError).type.toBeConstructableWith('WS_AUTH_FORBIDDEN', { cause: 'why' })
  expect(WsAuthError).type.not.toBeConstructableWith()
  expect(WsAuthError).type.not.toBeConstructableWith('WS_AUTH_FORBIDEN')
  expect(WsAuthError).type.not.toBeConstructableWith('WS_AUTH_FORBIDDEN', 'why')
})

test('an error is an Error with the fields of its row', () => {
  const error = new WsAuthError('WS_AUTH_FORBIDDEN')
  expect(error).type.toBeAssignableTo<Error>()
  expect(error.name).type.toBe<string>()
  expect(error.code).type.toBe<WsAuthErrorCode>()
  expect(error.statusCode).type.toBe<number>()
  expect(error.status).type.toBe<number>()
  expect(error.expose).type.toBe<boolean>()
  expect(error.close).type.toBe<{ code: number, reason: string } | null>()
  // @ts-expect-error Cannot assign to 'code' because it is a read-only property.
  error.code = 'WS_AUTH_TIMEOUT'
  // @ts-expect-error Cannot assign to 'statusCode' because it is a read-only property.
  error.statusCode = 200
})

test('the table is read-only', () => {
  // @ts-expect-error Cannot assign to 'statusCode' because it is a read-only property.
  wsAuthErrors.WS_AUTH_FORBIDDEN.statusCode = 200
  // @ts-expect-error Cannot assign to 'WS_AUTH_FORBIDDEN' because it is a read-only property.
  wsAuthErrors.WS_AUTH_FORBIDDEN = wsAuthErrors.WS_AUTH_TIMEOUT
})
