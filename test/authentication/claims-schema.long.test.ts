/*
 * The schema of the `claims` option is compiled once, at the start, by the validator of the app that the plugin is registered
 * in. What validator a route or its scope has decides nothing about claims.
 */
import Fastify from 'fastify'
import type { FastifyInstance, FastifySchemaCompiler, FastifyServerOptions } from 'fastify'
import { validatorCompiler as zodCompiler } from 'fastify-type-provider-zod'
import Joi from 'joi'
import t from 'tap'
import type { Test } from 'tap'
import { z } from 'zod'
import fastifyWsAuth from '../../lib/index'
import type { WsAuthOptions } from '../../lib/options/public-options'
import { prepare, SECRET, sign, start } from '../helpers/app'
import { clientFrame, upgrade } from '../helpers/raw-client'
import type { RawClient } from '../helpers/raw-client'

type Compiler = FastifySchemaCompiler<unknown>
type Validate = (data: { tenant?: unknown }) => unknown

const TEXT = 1
const CLOSE = 8
const claims = { type: 'object', required: ['tenant'], properties: { tenant: { const: 'acme' } } }
const good = sign({ sub: 'ann', tenant: 'acme' })
const BAD = { 'another tenant': sign({ sub: 'ann', tenant: 'evil' }), 'no tenant': sign({ sub: 'ann' }), 'a tenant of another type': sign({ sub: 'ann', tenant: ['acme'] }) }
const accepted = { status: 426, code: undefined }
const invalid = { status: 401, code: 'WS_AUTH_TOKEN_INVALID' }
const unavailable = { status: 503, code: 'WS_AUTH_UNAVAILABLE' }

const joi: Compiler = ({ schema }) => (data) => (schema as Joi.Schema).validate(data)
/** As many write it: what is no schema of Joi's is not validated. */
const lenientJoi: Compiler = ({ schema }) => (data) => Joi.isSchema(schema) ? schema.validate(data) : { value: data }
const zod = zodCompiler as Compiler
/** A validator that answers as it is told, whatever the schema. */
const compilerOf = (validate: Validate): Compiler => () => validate as ReturnType<Compiler>
const isAcme = ({ tenant }: { tenant?: unknown }): boolean => tenant === 'acme'
const withErrors = (name: 'errors' | 'validation'): Error => Object.assign(new Error('no match'), { [name]: [{ message: 'no match' }] })

/** Validators of a route or scope that would let everybody in, or nobody. */
const COMPILERS: Record<string, Compiler> = {
  'accepts everything': compilerOf(() => true),
  'accepts everything as a value': compilerOf((value) => ({ value })),
  'refuses everything': compilerOf(() => false),
  'answers with a promise of true': compilerOf(async () => true),
  'is that of Zod': zod,
  'is that of Joi': joi,
  'is that of Joi for Joi schemas alone': lenientJoi,
  throws: compilerOf(() => { throw new Error('out of order') }),
  'cannot compile': () => { throw new Error('no schema of mine') }
}

async function ask (app: FastifyInstance, url: string, token: string, method: 'GET' | 'POST' = 'GET'): Promise<{ status: number, code: string | undefined }> {
  const { statusCode: status, ...response } = await app.inject({ method, url, headers: { authorization: `Bearer ${token}` } })
  return { status, code: response.json().code }
}

async function nextOf (client: RawClient): Promise<unknown> {
  const { opcode, payload } = await client.frame()
  return opcode === CLOSE ? [payload.readUInt16BE(0), payload.subarray(2).toString()] : JSON.parse(String(payload))
}

/** Declares the routes of a scope, on the same paths in each. */
function declare (scope: FastifyInstance, options: { validatorCompiler?: Compiler, attachValidation?: boolean } = {}): void {
  scope.get('/chat', { websocket: true, ...options }, (socket) => socket.send('{}'))
  scope.get('/first', { websocket: true, wsAuth: { token: { message: true, header: false } }, ...options }, (socket) => socket.send('{}'))
}

function declareAll (app: FastifyInstance): string[] {
  declare(app)
  const paths = ['']
  for (const [i, compiler] of Object.values(COMPILERS).entries()) {
    app.register(async (scope) => { declare(scope, { validatorCompiler: compiler }) }, { prefix: `/route-${i}` })
    app.register(async (scope) => { scope.setValidatorCompiler(compiler); declare(scope) }, { prefix: `/scope-${i}` })
    paths.push(`/route-${i}`, `/scope-${i}`)
  }
  app.register(async (scope) => { declare(scope, { attachValidation: true }) }, { prefix: '/attached' })
  return [...paths, '/attached']
}

/** What stands for a path in a message. */
function nameOf (path: string): string {
  const [, where = 'the app', i] = /^\/(\w+)(?:-(\d+))?/.exec(path) ?? []
  return i === undefined ? where : `a ${where} whose validator ${Object.keys(COMPILERS)[Number(i)]}`
}

async function assertFirstMessage (t: Test, port: number, path: string): Promise<void> {
  for (const [token, answer] of [[BAD['another tenant'], [3000, 'token_invalid']], [good, 'auth.ok']] as const) {
    const client = await upgrade(t, port, { path: `${path}/first` })
    client.send(clientFrame(TEXT, JSON.stringify({ type: 'auth', token })))
    const next = await nextOf(client)
    t.strictSame(Array.isArray(next) ? next : (next as { type: string }).type, answer, `${nameOf(path)}: ${token === good ? 'the good token' : 'another tenant'} in the first message`)
    client.socket.destroy()
  }
}

async function assertRenewal (t: Test, port: number, path: string): Promise<void> {
  const client = await upgrade(t, port, { path: `${path}/chat`, headers: { authorization: `Bearer ${good}` } })
  t.equal(client.answer.status, 101, `${nameOf(path)}: the good token opens a connection`)
  if (client.answer.status !== 101) return
  let next = await nextOf(client)
  while (JSON.stringify(next) !== '{}') next = await nextOf(client)
  for (const [token, answer] of [[BAD['another tenant'], 'WS_AUTH_TOKEN_INVALID'], [good, 'auth.ok']] as const) {
    client.send(clientFrame(TEXT, JSON.stringify({ type: 'auth', token })))
    const { type, code } = await nextOf(client) as { type: string, code?: string }
    t.equal(code ?? type, answer, `${nameOf(path)}: ${token === good ? 'the good token' : 'another tenant'} in a renewal`)
  }
  client.socket.destroy()
}

t.test('the claims are checked by the validator of the app, whatever validator a route or a scope has', async (t) => {
  let paths: string[] = []
  const { app, port } = await start(t, { server: { logger: false }, plugin: { claims, renewal: true, tickets: true }, routes: (app) => { paths = declareAll(app) } })
  for (const path of paths) {
    t.strictSame(await ask(app, `${path}/chat`, good), accepted, `${nameOf(path)}: the good token`)
    for (const [what, token] of Object.entries(BAD)) {
      t.strictSame(await ask(app, `${path}/chat`, token), invalid, `${nameOf(path)}: ${what}`)
    }
    const client = await upgrade(t, port, { path: `${path}/chat`, headers: { authorization: `Bearer ${BAD['another tenant']}` } })
    t.equal(client.answer.status, 401, `${nameOf(path)}: another tenant in a handshake`)
    client.socket.destroy()
    await assertFirstMessage(t, port, path)
    await assertRenewal(t, port, path)
  }
  t.strictSame(await ask(app, '/ws-ticket', BAD['another tenant'], 'POST'), invalid, 'another tenant gets no ticket')
  t.strictSame(await ask(app, '/ws-ticket', good, 'POST'), { status: 200, code: undefined }, 'the good token gets a ticket')
})

t.test('a validator that the app sets checks the claims, and may be set before or after the plugin', async (t) => {
  const rows: Record<string, { compiler: Compiler, schema: object }> = {
    'that of Zod': { compiler: zod, schema: z.object({ tenant: z.literal('acme') }) },
    'that of Joi': { compiler: joi, schema: Joi.object({ tenant: Joi.valid('acme').required() }).unknown() },
    'one that answers true or false': { compiler: compilerOf(isAcme), schema: { tenant: 'acme' } },
    'one that answers with a promise': { compiler: compilerOf(async (data) => isAcme(data)), schema: { tenant: 'acme' } },
    'one that throws with errors': { compiler: compilerOf((data) => { if (!isAcme(data)) throw withErrors('errors'); return true }), schema: { tenant: 'acme' } },
    'one that throws with validation': { compiler: compilerOf((data) => { if (!isAcme(data)) throw withErrors('validation'); return true }), schema: { tenant: 'acme' } },
    'one that rejects with errors': { compiler: compilerOf(async (data) => { if (!isAcme(data)) throw withErrors('errors'); return true }), schema: { tenant: 'acme' } },
    'one that rejects with validation': { compiler: compilerOf(async (data) => { if (!isAcme(data)) throw withErrors('validation'); return true }), schema: { tenant: 'acme' } },
    'one that answers with an error': { compiler: compilerOf((value) => isAcme(value) ? { value } : { value, error: new Error('no match') }), schema: { tenant: 'acme' } }
  }
  for (const [name, { compiler, schema }] of Object.entries(rows)) {
    for (const when of ['before', 'routes'] as const) {
      const { app, log } = await prepare(t, {
        plugin: { claims: schema },
        [when]: (app: FastifyInstance) => { app.setValidatorCompiler(compiler) }
      })
      await app.close()
      t.same(log.filter((line) => line.includes('"level":50')), [], `${name}: the app starts, set ${when === 'before' ? 'before' : 'after'} the plugin`)
    }
    const { app, log } = await prepare(t, {
      plugin: { claims: schema },
      before: (app) => { app.setValidatorCompiler(compiler) },
      routes: (app) => {
        declare(app)
        app.register(async (scope) => { scope.setValidatorCompiler(compilerOf(() => true)); declare(scope) }, { prefix: '/scope' })
      }
    })
    for (const path of ['', '/scope']) {
      t.strictSame(await ask(app, `${path}/chat`, good), accepted, `${name}: the good token, in ${nameOf(path)}`)
      for (const [what, token] of Object.entries(BAD)) t.strictSame(await ask(app, `${path}/chat`, token), invalid, `${name}: ${what}, in ${nameOf(path)}`)
    }
    t.same(log.filter((line) => line.includes('"level":50')), [], `${name}: no error is logged for wrong claims`)
  }
})

t.test('the validator of a scope checks the claims if the plugin is registered in that scope', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.setValidatorCompiler(compilerOf(() => true))
  await app.register(async (scope) => {
    scope.setValidatorCompiler(compilerOf(isAcme))
    await scope.register(fastifyWsAuth, { jwt: { secret: SECRET }, claims: { tenant: 'acme' } })
    declare(scope)
  })
  await app.ready()
  t.strictSame(await ask(app, '/chat', good), accepted)
  t.strictSame(await ask(app, '/chat', BAD['another tenant']), invalid)
})

t.test('a schema with $async refuses wrong claims with 401 and logs no error', async (t) => {
  const { app, log } = await prepare(t, { plugin: { claims: { $async: true, ...claims } }, routes: declare })
  t.strictSame(await ask(app, '/chat', good), accepted)
  for (const [what, token] of Object.entries(BAD)) t.strictSame(await ask(app, '/chat', token), invalid, what)
  t.same(log.filter((line) => line.includes('"level":50')), [])
})

t.test('a validator that fails without validation errors causes 503 and a line in the log', async (t) => {
  for (const [name, fail] of Object.entries<Validate>({
    'that throws': ({ tenant }) => { if (tenant === 'evil') throw new Error('out of order'); return true },
    'that rejects': async ({ tenant }) => { if (tenant === 'evil') throw new Error('out of order'); return true }
  })) {
    const { app, log } = await prepare(t, { plugin: { claims: {} }, before: (app) => { app.setValidatorCompiler(compilerOf(fail)) }, routes: declare })
    t.strictSame(await ask(app, '/chat', BAD['another tenant']), unavailable, `a validator ${name}`)
    t.equal(log.filter((line) => line.includes('"level":50') && line.includes('out of order')).length >= 1, true, `the error of a validator ${name} is logged`)
    t.strictSame(await ask(app, '/chat', good), accepted, `the good token passes a validator ${name} for others`)
  }
})

t.test('the schema is compiled once, before the first handshake', async (t) => {
  const compiled: unknown[] = []
  const compiler: Compiler = ({ schema }) => {
    compiled.push(schema)
    return isAcme as unknown as ReturnType<Compiler>
  }
  const { app } = await prepare(t, {
    plugin: { claims },
    before: (app) => { app.setValidatorCompiler(compiler) },
    routes: (app) => {
      declare(app)
      app.register(async (scope) => { declare(scope) }, { prefix: '/scope' })
    }
  })
  t.equal(compiled.length, 1, 'at the start')
  for (const path of ['/chat', '/scope/chat', '/chat']) t.strictSame(await ask(app, path, good), accepted)
  t.equal(compiled.length, 1, 'after handshakes of two scopes')
})

t.test('a validator changes nothing in the claims', async (t) => {
  const given = { sub: 'ann', tenant: 'acme', n: '5', more: { a: 1 } }
  const properties = { tenant: { type: 'string' }, n: { type: 'integer' }, size: { type: 'integer', default: 3 } }
  const rows: Record<string, { server?: FastifyServerOptions, compiler?: Compiler, schema: object }> = {
    Ajv: { server: { ajv: { customOptions: { removeAdditional: 'all', coerceTypes: true, useDefaults: true } } }, schema: { type: 'object', properties } },
    Joi: { compiler: ({ schema }) => (data) => (schema as Joi.Schema).validate(data, { stripUnknown: true }), schema: Joi.object({ n: Joi.number(), size: Joi.number().default(3) }) },
    Zod: { compiler: zod, schema: z.object({ n: z.coerce.number(), tenant: z.string().transform((text) => text.toUpperCase()), size: z.number().default(3) }) },
    'a validator that writes': { compiler: compilerOf((data) => { Object.assign(data, { roles: ['admin'] }); Object.assign((data as Partial<typeof given>).more ?? {}, { a: 2 }); return true }), schema: {} }
  }
  for (const [name, { server, compiler, schema }] of Object.entries(rows)) {
    const seen: unknown[] = []
    const { app } = await prepare(t, {
      server,
      plugin: { claims: schema },
      before: (app) => { if (compiler !== undefined) app.setValidatorCompiler(compiler) },
      routes: (app) => {
        app.addHook('preHandler', async ({ user }) => { seen.push(user) })
        declare(app)
      }
    })
    t.strictSame(await ask(app, '/chat', sign(given)), accepted, name)
    t.strictSame(seen, [given], name)
  }
})

t.test('Fastify\'s own validator knows the schemas, formats and options of the app', async (t) => {
  const { app } = await prepare(t, {
    server: { ajv: { customOptions: { formats: { acme: /^acme$/ } } } },
    plugin: { claims: { type: 'object', required: ['tenant'], properties: { tenant: { $ref: 'tenant#' } } } },
    before: (app) => { app.addSchema({ $id: 'tenant', type: 'string', format: 'acme' }) },
    routes: declare
  })
  t.strictSame(await ask(app, '/chat', good), accepted)
  t.strictSame(await ask(app, '/chat', BAD['another tenant']), invalid)
  t.strictSame(await ask(app, '/chat', BAD['no tenant']), invalid)
})

t.test('a schema that the validator of the app cannot compile or run fails the start with the name of the option', async (t) => {
  const rows: Record<string, { plugin: WsAuthOptions, compiler?: Compiler }> = {
    'a JSON Schema for Zod': { plugin: { claims }, compiler: zod },
    'a JSON Schema for Joi': { plugin: { claims }, compiler: joi },
    'a schema of an unknown type': { plugin: { claims: { type: 'nonsense' } } },
    'a schema with a keyword that does not exist': { plugin: { claims: { type: 'object', propertys: {} } } },
    'a reference to a schema that does not exist': { plugin: { claims: { $ref: 'nowhere#' } } },
    'a compiler that throws': { plugin: { claims }, compiler: () => { throw new Error('no schema of mine') } },
    'a compiler that answers with no function': { plugin: { claims }, compiler: () => true as never },
    'a validator that always throws': { plugin: { claims }, compiler: compilerOf(() => { throw new TypeError('reading run') }) }
  }
  for (const [name, { plugin, compiler }] of Object.entries(rows)) {
    for (const hasSchema of [false, true]) {
      const app = Fastify()
      t.teardown(() => app.close())
      const failure = await (async () => {
        if (compiler !== undefined) app.setValidatorCompiler(compiler)
        await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, ...plugin })
        declare(app)
        // With a schema of any route Fastify has built its validator by then.
        if (hasSchema && compiler === undefined) app.get('/plain', { schema: { querystring: { type: 'object' } } }, () => 'plain')
        await app.ready()
      })().then(() => 'the app starts', (error: unknown) => error)
      t.ok(failure instanceof TypeError, `${name}: a TypeError (${String(failure)})`)
      t.match(String(failure), /"claims" option/, `${name}: it names the option`)
    }
  }
})
