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
export function errorWithoutToken (error: unknown, token: string, depth = 0): Error {
  if (!(error instanceof Error)) return new Error(textWithoutToken(`a ${typeof error} was thrown`, token))
  const safe = new Error(textWithoutToken(String(error.message), token))
  safe.name = textWithoutToken(String(error.name), token)
  safe.stack = textWithoutToken(String(error.stack), token)
  if ('code' in error && typeof error.code === 'string') Object.assign(safe, { code: textWithoutToken(error.code, token) })
  if (error.cause !== undefined && depth < MAX_CAUSES) safe.cause = errorWithoutToken(error.cause, token, depth + 1)
  return safe
}

/** The text with every occurrence of the token replaced. */
export function textWithoutToken (text: string, token: string): string {
  return token.length < MIN_SECRET_LENGTH ? text : text.replaceAll(token, '[token]')
}
