/*
 * Explains in the log why a text is no JWT. The most frequent mistakes of clients are told by their shape, so the text itself is not shown.
 */

/** What JavaScript writes for a value that is not a text. */
const NO_TEXT = /^(?:undefined|null|NaN|true|false|\[object \w+\])$/

/** Explains why a text is not a JWT (RFC 7519, 3). */
export function reasonOfFormat (text: string): string {
  return `not a JWT in compact serialization: ${mistakeIn(text)}`
}

function mistakeIn (text: string): string {
  if (NO_TEXT.test(text)) return 'it is a value that is not a text, such as an object or nothing, so the client had no token'
  if (/^bearer\s/i.test(text)) return 'it begins with a second Bearer'
  if (/^["'].*["']$/.test(text)) return 'it is in quotes'
  if (/%[\da-f]{2}/i.test(text)) return 'it is percent-encoded twice'
  const parts = text.split('.').length
  if (parts === 5) return 'it has 5 parts, so it is encrypted (JWE); only signed tokens (JWS) can be verified'
  if (parts !== 3) return `it has ${parts === 1 ? '1 part' : `${parts} parts`} in place of 3; the "verify" option verifies opaque tokens`
  return 'a part is not base64url'
}
