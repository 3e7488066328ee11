/*
 * What RFCs let a name be.
 */

/** RFC 9110, 5.6.2: what a header's name and a subprotocol are made of. */
export const HTTP_TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
/** RFC 6749, 3.3: what a scope is made of; it is quoted in a challenge. */
export const SCOPE_TOKEN = /^[\x21\x23-\x5B\x5D-\x7E]+$/
/** An origin of a scheme that the WHATWG URL parser gives no origin to, such as `capacitor://localhost`. */
const OTHER_ORIGIN = /^[a-z][a-z0-9+.-]*:\/\/[^\s/?#,A-Z]+$/

/** Whether it is an origin as a browser writes it. */
export function isOrigin (value: unknown): boolean {
  if (typeof value !== 'string' || !OTHER_ORIGIN.test(value)) return false
  return !/^https?:/.test(value) || (URL.canParse(value) && new URL(value).origin === value)
}
