/*
 * Tokens that no key has signed, and the ways in which an app changes the headers of a request. Fastify lays what was
 * assigned to `request.headers` over the raw ones, so a verifier that reads them there may find another token than ours.
 */
import type { FastifyRequest, FastifySchemaCompiler, RouteShorthandOptions } from 'fastify'
import { validatorCompiler as zodCompiler } from 'fastify-type-provider-zod'
import Joi from 'joi'
import { z } from 'zod'
import { compact } from './hostile-tokens'

export type Claims = Record<string, unknown>

const TEN_YEARS = 315_360_000

/** Seconds since the epoch. */
export function secondsFromNow (offset: number): number {
  return Math.floor(Date.now() / 1000) + offset
}

/** A token whose signature is of the right length and of no key. */
export function forge (claims: Claims = {}): string {
  return compact({ alg: 'HS256', typ: 'JWT' }, { sub: 'root', roles: ['admin'], exp: secondsFromNow(TEN_YEARS), ...claims }, () => 'A'.repeat(43))
}

/** A token with the signature of another: they are one for a cache that is keyed by signatures. */
export function forgeWithSignatureOf (token: string, claims: Claims = {}): string {
  return forge(claims).slice(0, -43) + token.slice(token.lastIndexOf('.') + 1)
}

/** Whitespace behind a scheme that `/^Bearer\s/` takes for a space and RFC 6750 does not. */
export function oddBearer (token: string): string {
  return `Bearer\xa0x ${token}`
}

/** What an app does to the headers of a request. None of it takes a header away. */
export const HEADER_CHANGES = {
  'assigns a copy to request.headers': (request) => { request.headers = { ...request.headers } },
  'assigns a copy and one header more to request.headers': (request) => { request.headers = { ...request.headers, 'x-trace': '1' } },
  'assigns another header alone to request.headers': (request) => { request.headers = { 'x-trace': '1' } },
  'writes another header into request.headers': (request) => { request.headers['x-trace'] = '1' },
  'replaces raw.headers by a copy': (request) => { request.raw.headers = { ...request.raw.headers } },
  'replaces raw.headers by a copy without a prototype': (request) => { request.raw.headers = Object.assign(Object.create(null), request.raw.headers) },
  'assigns the object of raw.headers to request.headers': (request) => { request.headers = request.raw.headers }
} satisfies Record<string, (request: FastifyRequest) => void>

export type HeaderChange = keyof typeof HEADER_CHANGES

const joiCompiler: FastifySchemaCompiler<Joi.Schema> = ({ schema }) => (data) => schema.validate(data)

/** What a route declares of its schema. */
export type SchemaOptions = Pick<RouteShorthandOptions, 'schema' | 'validatorCompiler'>

export type HeaderSchema = 'none' | 'Ajv' | 'TypeBox' | 'Zod' | 'Joi'

/** Schemas for headers that change what `request.headers` is, or might. TypeBox is an ES module. */
export async function loadHeaderSchemas (): Promise<Record<HeaderSchema, SchemaOptions>> {
  const { Type } = await import('typebox')
  return {
    none: {},
    Ajv: { schema: { headers: { type: 'object', properties: { authorization: { type: 'string' }, cookie: { type: 'string' }, 'x-number': { type: 'integer', default: 7 } } } } },
    TypeBox: { schema: { headers: Type.Object({ authorization: Type.Optional(Type.String()), cookie: Type.Optional(Type.String()) }) } },
    Zod: { schema: { headers: z.object({ authorization: z.string().optional(), cookie: z.string().optional() }) }, validatorCompiler: zodCompiler as FastifySchemaCompiler<unknown> },
    Joi: { schema: { headers: Joi.object({ authorization: Joi.string(), cookie: Joi.string() }).unknown() }, validatorCompiler: joiCompiler as FastifySchemaCompiler<unknown> }
  }
}
