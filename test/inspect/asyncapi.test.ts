/*
 * The document of AsyncAPI, by the official JSON Schema of AsyncAPI 3.0.0.
 */
import specs from '@asyncapi/specs'
import Ajv from 'ajv'
import t from 'tap'
import { prepare } from '../helpers/app'

const validate = new Ajv({ strict: false, allErrors: true, validateFormats: false }).compile(specs.schemasWithoutId['3.0.0'] as object)

interface Document {
  readonly channels: Record<string, { address: string, parameters?: Record<string, unknown> }>
  readonly operations: Record<string, { action: string, channel: { $ref: string }, security?: Array<{ $ref: string }> }>
  readonly components?: { securitySchemes: Record<string, unknown> }
}

/** What a reference points to. */
function follow (document: unknown, ref: string): unknown {
  return ref.replace(/^#\//, '').split('/').reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], document)
}

t.test('the schema refuses what is wrong', async (t) => {
  t.notOk(validate({ asyncapi: '3.0.0', info: { title: 'x', version: '1' }, channels: {}, operations: { a: { action: 'listen', channel: { $ref: '#/channels/a' } } } }))
  t.notOk(validate({ asyncapi: '3.0.0', info: { title: 'x' } }))
})

t.test('the document of an app with all ways in is valid, and each reference in it has a target', async (t) => {
  const { app } = await prepare(t, {
    plugin: { tickets: true, token: { param: true, message: true, header: 'x-token' } },
    routes: (app) => {
      const add = (path: string, wsAuth: object | boolean | 'optional' = true): unknown => app.get(path, { websocket: true, wsAuth }, () => {})
      add('/')
      add('/rooms/:room/:token', { roles: ['member'], token: { header: true } })
      add('/rooms.room', 'optional')
      add('/files/*', false)
      add('/at/:time(^(a|b)\\d+$)/::colon')
      add('/from-:from.:to/:more?', { token: { header: true, cookie: { name: 'login' } } })
      add('/hosts')
    }
  })
  const document = app.wsAuth.inspect().asyncapi({ title: 'Chat', version: '2.1.0' }) as unknown as Document
  t.ok(validate(document), JSON.stringify(validate.errors?.slice(0, 5)))
  t.match(document, { asyncapi: '3.0.0', info: { title: 'Chat', version: '2.1.0' } })
  t.strictSame(Object.values(document.channels).map(({ address, parameters = {} }) => [address, Object.keys(parameters)]), [
    ['/', []], ['/at/{time}/:colon', ['time']], ['/files/{wildcard}', ['wildcard']], ['/from-{from}.{to}/{more}', ['from', 'to', 'more']],
    ['/hosts', []], ['/rooms.room', []], ['/rooms/{room}/{token}', ['room', 'token']]
  ])
  const operations = Object.values(document.operations)
  t.equal(operations.length, 14)
  for (const { channel, security = [] } of operations) for (const { $ref } of [channel, ...security]) t.ok(follow(document, $ref), $ref)
  t.strictSame(operations.filter(({ security }) => security === undefined).map(({ channel }) => channel.$ref), ['#/channels/files', '#/channels/files'], 'the public route alone has no security')
  t.match(document.components?.securitySchemes, {
    header: { type: 'httpApiKey', in: 'header', name: 'x-token' },
    'header-2': { type: 'http', scheme: 'bearer' },
    subprotocol: { type: 'httpApiKey', in: 'header', name: 'Sec-WebSocket-Protocol' },
    query: { type: 'httpApiKey', in: 'query', name: 'token' },
    cookie: { type: 'httpApiKey', in: 'cookie', name: 'token' },
    'cookie-2': { type: 'httpApiKey', in: 'cookie', name: 'login' },
    param: { type: 'apiKey' },
    message: { type: 'apiKey' },
    ticket: { type: 'httpApiKey', in: 'query', name: 'ticket' }
  })
  t.equal(Object.keys(document.components?.securitySchemes ?? {}).length, 9)
})

t.test('routes whose names each object has are in the document', async (t) => {
  const paths = ['/__proto__', '/constructor', '/toString/:__proto__', '/valueOf']
  const { app } = await prepare(t, { routes: (app) => { for (const path of paths) app.get(path, { websocket: true }, () => {}) } })
  const document = JSON.parse(JSON.stringify(app.wsAuth.inspect().asyncapi())) as Document
  t.ok(validate(document), JSON.stringify(validate.errors?.slice(0, 5)))
  t.strictSame(Object.values(document.channels).map(({ address }) => address).sort(), ['/__proto__', '/constructor', '/toString/{__proto__}', '/valueOf'])
  t.strictSame(Object.keys(document.channels['toString.__proto__']?.parameters ?? {}), ['__proto__'])
  const operations = Object.values(document.operations)
  t.equal(operations.length, 2 * paths.length)
  for (const { channel, security = [] } of operations) for (const { $ref } of [channel, ...security]) t.ok(Object.hasOwn(follow(document, $ref.slice(0, $ref.lastIndexOf('/'))) as object, $ref.slice($ref.lastIndexOf('/') + 1)), $ref)
})

t.test('the documents of an app without routes, and of public routes alone, are valid', async (t) => {
  for (const paths of [[], ['/open']]) {
    const { app } = await prepare(t, { routes: (app) => { for (const path of paths) app.get(path, { websocket: true, wsAuth: false }, () => {}) } })
    const inspection = app.wsAuth.inspect()
    t.ok(validate(inspection.asyncapi()), JSON.stringify(validate.errors))
    t.not(inspection.asyncapi(), inspection.asyncapi(), 'each call makes a new one')
    t.notOk(Object.isFrozen(inspection.asyncapi()))
  }
})
