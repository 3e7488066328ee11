/*
 * The verifier and the schema of a route that has some of its own.
 */
import type { FastifyInstance } from 'fastify'
import { ClaimsSchema } from '../authentication/claims-schema'
import type { CompleteRouteOptions } from '../options/complete-options'
import type { Verifier } from '../token/verifier'
import { createVerifier, findJwt } from './jwt'
import type { Parts } from './parts'

/** Makes the checks of a route. A route without any of its own has those of the plugin. @throws TypeError for a wrong namespace */
export function addOwnChecks (app: FastifyInstance, { checks, options }: Parts, route: CompleteRouteOptions): void {
  const { byDefault } = checks
  const verifier = verifierOf(app, options, route) ?? byDefault.verifier
  const claimsSchema = route.claims === options.claims ? byDefault.claimsSchema : new ClaimsSchema(route.claims)
  if (verifier === byDefault.verifier && claimsSchema === byDefault.claimsSchema) return
  checks.add(route, { verifier, claimsSchema })
}

function verifierOf (app: FastifyInstance, plugin: Parts['options'], { verify, jwtNamespace }: CompleteRouteOptions): Verifier | null {
  if (verify === plugin.verify && jwtNamespace === plugin.jwtNamespace) return null
  const options = { ...plugin, verify, jwtNamespace, jwt: undefined }
  if (verify !== undefined) return createVerifier(app, options, null)
  const jwt = findJwt(app, options)
  if (jwt === null) throw new TypeError('"wsAuth.jwtNamespace" option must be left out: no @fastify/jwt is registered')
  return createVerifier(app, options, jwt)
}
