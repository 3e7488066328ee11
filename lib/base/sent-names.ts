/*
 * Lists of names for log lines about refusals. They have names and never values, because a value in the wrong place may be a token.
 */

/** The longest name of a client that is shown, in characters. Secrets are longer. */
const MAX_NAME = 20
/** How many names a list shows. */
const MAX_NAMES = 8
/** The characters of usual names of headers, cookies, parameters and subprotocols. */
const PLAIN_NAME = /^[\w.+-]+$/

/** Lists names that the app chose. */
export function namesOf (names: readonly string[]): string {
  return listOf(names.map((name) => name.length <= 100 ? name : `${name.slice(0, 100)}...`))
}

/** Lists names that the client chose. A text that does not look like a name is shown by its length. */
export function sentNames (names: readonly string[]): string {
  return listOf(names.map((name) => PLAIN_NAME.test(name) && name.length <= MAX_NAME ? name : `(${name.length} characters)`))
}

function listOf (names: readonly string[]): string {
  const more = names.length - MAX_NAMES
  return names.slice(0, MAX_NAMES).join(', ') + (more > 0 ? ` and ${more} more` : '')
}
