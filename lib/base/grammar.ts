/*
 * The grammars of names in RFCs.
 */

/** RFC 9110, 5.6.2: the name of a header, or a subprotocol. */
export const HTTP_TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
/** RFC 6749, 3.3: a scope. It is quoted in a challenge. */
export const SCOPE_TOKEN = /^[\x21\x23-\x5B\x5D-\x7E]+$/
/** Any origin, also one for which the WHATWG URL parser returns no origin, such as `capacitor://localhost`. */
const OTHER_ORIGIN = /^[a-z][a-z0-9+.-]*:\/\/[^\s/?#,A-Z]+$/

/** Whether a value is an origin as browsers write it. */
export function isOrigin (value: unknown): boolean {
  if (typeof value !== 'string' || !OTHER_ORIGIN.test(value)) return false
  return !/^https?:/.test(value) || (URL.canParse(value) && new URL(value).origin === value)
}
