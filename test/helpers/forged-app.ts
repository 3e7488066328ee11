/*
 * An app whose hooks assign headers, and the verifiers that forged tokens are sent to.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Test } from 'tap'
import { sign } from './app'
import { HEADER_CHANGES, loadHeaderSchemas, secondsFromNow } from './forged'
import type { HeaderSchema } from './forged'
import { upgrade } from './raw-client'
import type { RequestSettings } from './raw-client'

export const INVALID = { status: 401, code: 'WS_AUTH_TOKEN_INVALID' }

export const mine = sign({ sub: 'mallory', roles: ['member'], exp: secondsFromNow(600) })

type Apply = (request: FastifyRequest) => void
type Hook = 'onRequest' | 'preParsing' | 'preValidation' | 'preHandler'

export interface Way {
  /** A hook of the app that changes the headers, and whether it comes before those of the plugin. */
  readonly hook?: readonly [Hook, 'before' | 'after', Apply]
  /** Called by the handler. */
  readonly inHandler?: Apply
  /** The schema of each websocket route. */
  readonly schema?: HeaderSchema
}

export const schemas = loadHeaderSchemas()
export const copy: Apply = HEADER_CHANGES['assigns a copy and one header more to request.headers']

/** How headers are changed before the token is verified, or verified again. */
export const WAYS: Record<string, Way> = {
  'nothing changes the headers': {},
  'onRequest before the plugin assigns the headers': { hook: ['onRequest', 'before', copy] },
  'onRequest after the plugin assigns the headers': { hook: ['onRequest', 'after', copy] },
  'preParsing assigns the headers': { hook: ['preParsing', 'before', copy] },
  'preValidation before the plugin assigns the headers': { hook: ['preValidation', 'before', copy] },
  'preValidation after the plugin assigns the headers': { hook: ['preValidation', 'after', copy] },
  'preHandler assigns the headers': { hook: ['preHandler', 'after', copy] },
  'the handler assigns the headers': { inHandler: copy },
  'onRequest assigns another header alone': { hook: ['onRequest', 'before', HEADER_CHANGES['assigns another header alone to request.headers']] },
  'onRequest writes another header': { hook: ['onRequest', 'before', HEADER_CHANGES['writes another header into request.headers']] },
  'onRequest assigns the object of raw.headers': { hook: ['onRequest', 'before', HEADER_CHANGES['assigns the object of raw.headers to request.headers']] },
  'onRequest replaces raw.headers': { hook: ['onRequest', 'before', HEADER_CHANGES['replaces raw.headers by a copy']] },
  'an Ajv schema validates the headers': { schema: 'Ajv' },
  'a TypeBox schema validates the headers': { schema: 'TypeBox' },
  'a Zod schema validates the headers': { schema: 'Zod' },
  'a Joi schema validates the headers': { schema: 'Joi' }
}

export function addHook (app: FastifyInstance, { hook }: Way, when: 'before' | 'after'): void {
  if (hook?.[1] !== when) return
  const [name, , apply] = hook
  // `preParsing` has an argument more; an async hook of fewer arguments is all of them.
  app.addHook(name as 'onRequest', async (request) => { apply(request) })
}

export async function refusal (t: Test, port: number, settings: RequestSettings): Promise<{ status: number, code: string | null }> {
  const { answer, socket } = await upgrade(t, port, settings)
  socket.destroy()
  return { status: answer.status, code: answer.status === 101 ? null : JSON.parse(answer.body).code }
}

export const genuine = { authorization: `Bearer ${mine}` }
