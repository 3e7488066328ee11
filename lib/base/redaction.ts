/*
 * What goes wrong behind a handshake is worth a log line; the token that it went wrong with is not. Errors of HTTP
 * clients carry the request that they failed with (its headers, its body), and some put it into their message.
 */

/** Shorter than this nothing is a credential, and taking it out would only garble the text. */
const MIN_SECRET_LENGTH = 8
const MAX_CAUSES = 5

/**
 * An error with the name, code, message, stack and causes of another and nothing else of it, the token taken out.
 * Safe to log and to hand to an error handler.
 */
export function errorWithoutToken (error: unknown, token: string): Error {
  try {
    return copyError(error, token, 0)
  } catch {
    return new Error('an error was thrown that cannot be read')
  }
}

function copyError (error: unknown, token: string, depth: number): Error {
  if (!(error instanceof Error)) return new Error(`not an error was thrown, but of type ${typeof error}`)
  const safe = new Error(textWithoutToken(String(error.message), token))
  safe.name = textWithoutToken(String(error.name), token)
  safe.stack = textWithoutToken(String(error.stack), token)
  if ('code' in error && typeof error.code === 'string') Object.assign(safe, { code: textWithoutToken(error.code, token) })
  if (error.cause !== undefined && depth < MAX_CAUSES) safe.cause = copyError(error.cause, token, depth + 1)
  return safe
}

/** The text with every occurrence of the token replaced, also as it is written in a URL, a form, JSON and base64. */
export function textWithoutToken (text: string, token: string): string {
  // No writing of it is shorter than itself. Most refusals end here, and are spared 8 us.
  if (token.length < MIN_SECRET_LENGTH || text.length < token.length) return text
  return writings(token).reduce((rest, writing) => rest.replaceAll(writing, '[token]'), text)
}

function writings (token: string): string[] {
  const bytes = Buffer.from(token)
  // With its padding or, as some write it, without.
  const unpadded = bytes.toString('base64').replace(/=+$/, '')
  const form = new URLSearchParams([['', token]]).toString().slice(1)
  return [token, percentEncoded(token), form, JSON.stringify(token).slice(1, -1), unpadded, bytes.toString('base64url')]
}

/** A token may be no well-formed text, which has no percent-encoding. */
function percentEncoded (token: string): string {
  return encodeURIComponent(token.toWellFormed())
}
