/*
 * The internals of Fastify that this plugin needs; no other file reads them. Symbols are found by their names, which have not changed
 * since Fastify 3. A missing value is `undefined`, and the caller reports it at start.
 */
import type { FastifyInstance, FastifySchemaCompiler } from 'fastify'

interface SchemaController {
  validatorCompiler?: FastifySchemaCompiler<unknown>
  setupValidator (options: unknown): void
}

function read<T> (instance: object, name: string): T | undefined {
  for (let owner: object | null = instance; owner !== null; owner = Object.getPrototypeOf(owner) as object | null) {
    const symbol = Object.getOwnPropertySymbols(owner).find(({ description }) => description === name)
    if (symbol !== undefined) return (owner as Record<symbol, unknown>)[symbol] as T
  }
  return undefined
}

/** The root instance of an app. */
export function rootOf (app: FastifyInstance): FastifyInstance {
  let root: object = app
  // A scope inherits from its parent.
  for (let parent = Object.getPrototypeOf(root) as object | null; parent !== null && 'addHook' in parent; parent = Object.getPrototypeOf(root) as object | null) root = parent
  return root as FastifyInstance
}

/** A scope and all scopes below it. */
export function scopesOf (scope: FastifyInstance): FastifyInstance[] {
  const children = read<FastifyInstance[]>(scope, 'fastify.children') ?? []
  return [scope, ...children.flatMap(scopesOf)]
}

/**
 * The validator compiler of a scope. Fastify makes its default compiler when a route with a schema is ready; if there is no such route,
 * this function makes Fastify do so.
 */
export function validatorCompilerOf (app: FastifyInstance): FastifySchemaCompiler<unknown> | undefined {
  if (app.validatorCompiler !== undefined) return app.validatorCompiler as FastifySchemaCompiler<unknown>
  const controller = read<SchemaController>(app, 'fastify.schemaController')
  controller?.setupValidator(read(app, 'fastify.options'))
  return controller?.validatorCompiler
}

/** Whether `request.ip` may come from a header. */
export function trustsProxy (app: FastifyInstance): boolean {
  const options = read<{ trustProxy?: unknown }>(app, 'fastify.options')
  return options === undefined || Boolean(options.trustProxy)
}

/** Whether a request decorator cannot be assigned, because it has a getter and no setter. */
export function isReadOnly (app: FastifyInstance, decorator: string): boolean {
  let prototype = read<{ prototype: object }>(app, 'fastify.Request')?.prototype as object | null | undefined
  for (; prototype != null; prototype = Object.getPrototypeOf(prototype) as object | null) {
    const property = Object.getOwnPropertyDescriptor(prototype, decorator)
    if (property !== undefined) return property.get !== undefined ? property.set === undefined : property.writable === false
  }
  return false
}
