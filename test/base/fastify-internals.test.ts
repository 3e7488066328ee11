import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { isReadOnly, rootOf, validatorCompilerOf } from '../../lib/base/fastify-internals'

t.test('an app without the internals of Fastify has no validator and no read-only decorator', async (t) => {
  const other = {} as FastifyInstance
  t.equal(validatorCompilerOf(other), undefined)
  t.equal(isReadOnly(other, 'user'), false)
  t.equal(rootOf(other), other)
})

t.test('the root of a scope is the app, and the app has a validator compiler', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(async (scope) => { t.equal(rootOf(scope), app) })
  await app.ready()
  t.equal(rootOf(app), app)
  t.type(validatorCompilerOf(app), 'function')
})
