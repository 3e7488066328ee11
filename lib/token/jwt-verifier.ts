/*
 * The verifier that asks @fastify/jwt: checks the form of a token before, and its claims after.
 */
import { parse } from '@lukeed/ms'
import type { FastifyInstance } from 'fastify'
import type { FastifyJWTOptions, JWT } from '@fastify/jwt'
import { assertClaims, assertIssuer, assertRequired } from './claims'
import type { ClaimRules, Claims } from './claims'
import { verifyByRequest, verifyDirectly } from './fastify-jwt'
import { assertFormat, readClaims } from './jwt-format'
import { isStatic } from './jwt-secret'
import { settle } from './verifier'
import type { Verifier, VerifyToken } from './verifier'
import { assertVerifySettings } from './verify-settings'

/**
 * Makes the verifier.
 *
 * @param jwt the decorator of the @fastify/jwt to use
 * @param method the name of its request decorator, such as `jwtVerify`
 * @param own its options, if this plugin registered it
 * @throws TypeError for a setting of the verification that @fastify/jwt does not have
 */
export function createJwtVerifier (app: FastifyInstance, jwt: JWT, method: string, own: FastifyJWTOptions | undefined): Verifier {
  assertVerifySettings(jwt.options.verify)
  const rules = rulesOf(jwt)
  const isAllowed = issuerTest(jwt)
  const isDirect = own !== undefined && isStatic(own)
  const ask = isDirect ? verifyDirectly(jwt, own) : verifyByRequest(app, jwt, method, own)
  const verify: VerifyToken = (token, request) => {
    assertFormat(token)
    if (!isDirect && rules.required.length > 0) assertReadable(readClaims(token), rules, isAllowed)
    return settle(token, () => ask(token, request), (verified) => {
      assertClaims(verified.claims, rules, Date.now())
      return verified
    })
  }
  return { verify, rules, needsRequest: !isDirect || own.trusted !== undefined }
}

/**
 * Refuses a token before its key is fetched, if a required claim is missing or its issuer is not one of `allowedIss`: a function of the
 * app that reads the issuer to find the key (get-jwks) may throw at it, or ask an address that the client chose. All else is checked
 * after the verification.
 */
function assertReadable (claims: Claims, rules: ClaimRules, isAllowed: (iss: string) => boolean): void {
  assertRequired(claims, rules)
  assertIssuer(claims, rules, isAllowed)
}

/** Compares an issuer as fast-jwt does: with strings, and with what has `test`, such as a RegExp. */
function issuerTest (jwt: JWT): (iss: string) => boolean {
  const allowedIss = jwt.options.verify.allowedIss as unknown
  if (!allowedIss) return () => true
  const allowed = [allowedIss].flat() as Array<string | Pick<RegExp, 'test' | 'lastIndex'>>
  return (iss) => allowed.some((one) => {
    if (typeof one !== 'object') return one === iss
    // A RegExp with the flag g goes on where it stopped.
    if (one instanceof RegExp && !Object.isFrozen(one)) one.lastIndex = 0
    return one.test(iss)
  })
}

/** A setting of the verifier about a claim makes the claim required, because the verifier checks it only if the token has it. */
function rulesOf (jwt: JWT): ClaimRules {
  const { allowedIss, allowedAud, allowedSub, allowedJti, allowedNonce, maxAge, ...verify } = jwt.options.verify
  const settings = { iss: allowedIss, aud: allowedAud, sub: allowedSub, jti: allowedJti, nonce: allowedNonce, iat: maxAge }
  return {
    required: Object.entries(settings).filter(([, setting]) => setting != null).map(([claim]) => claim),
    clockTolerance: verify.clockTolerance ?? 0,
    checkExpiry: verify.ignoreExpiration !== true,
    checkNotBefore: verify.ignoreNotBefore !== true,
    maxAge: maxAge == null ? null : milliseconds(maxAge)
  }
}

/** Reads a time as @fastify/jwt does: a number of seconds, or a text such as `'10 minutes'`. @fastify/jwt has refused any other value. */
function milliseconds (time: number | string): number {
  return typeof time === 'number' ? time * 1000 : Number(parse(time))
}
