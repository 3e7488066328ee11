/*
 * The names of the settings of @fastify/jwt about verification. It ignores those that it does not know, so a misspelt one would check nothing.
 */

/** The names that other libraries have for a setting (jsonwebtoken, jose, PyJWT), and the name that @fastify/jwt has. */
const OTHER_NAMES: ReadonlyMap<string, string> = new Map([
  ...['issuer', 'issuers', 'iss', 'allowedIssuer'].map((name) => [name, 'allowedIss'] as const),
  ...['audience', 'audiences', 'aud', 'allowedAudience'].map((name) => [name, 'allowedAud'] as const),
  ...['subject', 'sub', 'allowedSubject'].map((name) => [name, 'allowedSub'] as const),
  ...['jwtid', 'jti'].map((name) => [name, 'allowedJti'] as const),
  ['nonce', 'allowedNonce'],
  ...['algorithm', 'alg', 'algs', 'allowedAlgorithms'].map((name) => [name, 'algorithms'] as const),
  ...['maxTokenAge', 'maxage'].map((name) => [name, 'maxAge'] as const),
  ...['clockSkew', 'leeway', 'tolerance'].map((name) => [name, 'clockTolerance'] as const)
])

/**
 * A setting by both names is no mistake: fastify-jwt-jwks passes its own options on beside those that it makes of them.
 *
 * @throws TypeError for a setting that has the name of another library alone
 */
export function assertVerifySettings (settings: object): void {
  const has = (name: string): boolean => (settings as Record<string, unknown>)[name] != null
  for (const [name, value] of Object.entries(settings)) {
    const own = OTHER_NAMES.get(name)
    if (own !== undefined && value !== undefined && !has(own)) {
      throw new TypeError(`"verify.${name}" option of @fastify/jwt must be left out: there is no such option, so it would check nothing; did you mean "${own}"?`)
    }
  }
}
