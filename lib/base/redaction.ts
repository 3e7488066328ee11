/*
 * Takes the token out of errors before they are logged. Errors of HTTP clients have the failed request as a property (its headers, its
 * body), and some errors quote it in their message.
 */

/** In characters. A shorter text is no credential, and replacing it would garble the message. */
const MIN_SECRET_LENGTH = 8
const MAX_CAUSES = 5

/**
 * Copies the name, code, message, stack and causes of an error, without the token and without any other property. The copy is safe to log
 * and to give to an error handler.
 */
export function errorWithoutToken (error: unknown, token: string): Error {
  try {
    return copyError(error, token, 0)
  } catch {
    return new Error('an unreadable error was thrown')
  }
}

function copyError (error: unknown, token: string, depth: number): Error {
  if (!(error instanceof Error)) return new Error(`a value of type ${typeof error} was thrown`)
  const safe = new Error(textWithoutToken(String(error.message), token))
  safe.name = textWithoutToken(String(error.name), token)
  safe.stack = textWithoutToken(String(error.stack), token)
  if ('code' in error && typeof error.code === 'string') Object.assign(safe, { code: textWithoutToken(error.code, token) })
  if (error.cause !== undefined && depth < MAX_CAUSES) safe.cause = copyError(error.cause, token, depth + 1)
  return safe
}

/** Replaces the token in a text by `[token]`, also in its encodings for URLs, forms, JSON and base64. */
export function textWithoutToken (text: string, token: string): string {
  // No encoding is shorter than the token. Most texts end here, which saves 8 us.
  if (token.length < MIN_SECRET_LENGTH || text.length < token.length) return text
  return encodingsOf(token).reduce((rest, encoding) => rest.replaceAll(encoding, '[token]'), text)
}

function encodingsOf (token: string): string[] {
  const bytes = Buffer.from(token)
  // Matches with and without padding.
  const unpadded = bytes.toString('base64').replace(/=+$/, '')
  const form = new URLSearchParams([['', token]]).toString().slice(1)
  return [token, percentEncoded(token), form, JSON.stringify(token).slice(1, -1), unpadded, bytes.toString('base64url')]
}

/** A text with lone surrogates has no percent-encoding, so they are replaced first. */
function percentEncoded (token: string): string {
  return encodeURIComponent(token.toWellFormed())
}

/** The name and the code of an error, without its message, which may quote what a client has sent. */
export function nameOfError (error: unknown): string {
  try {
    const { name, code } = Object(error) as { name?: unknown, code?: unknown }
    const text = error instanceof Error ? [name, code].filter((part) => typeof part === 'string').join(' ') : typeof error
    return /^[\w ]{1,60}$/.test(text) ? text : 'an error'
  } catch {
    return 'an error'
  }
}
