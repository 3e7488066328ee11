/*
 * The words in which a log says why something was refused: what was looked for, and what was near. Names alone, and never
 * a value: what a client sends in the wrong place may be its token.
 */

/** The longest name that is shown, in characters. The shortest secrets that are worth the name are longer. */
const MAX_NAME = 20
/** How many names of one kind are shown. */
const MAX_NAMES = 8
/** Names of headers, cookies, parameters and subprotocols. */
const PLAIN_NAME = /^[\w.+-]+$/

/** Names that the app chose, as a list. */
export function namesOf (names: readonly string[]): string {
  return listOf(names.map((name) => name.length <= 100 ? name : `${name.slice(0, 100)}...`))
}

/** Names that the client chose, as a list: what does not look like a name is not shown. */
export function sentNames (names: readonly string[]): string {
  return listOf(names.map((name) => PLAIN_NAME.test(name) && name.length <= MAX_NAME ? name : `(${name.length} characters)`))
}

function listOf (names: readonly string[]): string {
  const more = names.length - MAX_NAMES
  return names.slice(0, MAX_NAMES).join(', ') + (more > 0 ? ` and ${more} more` : '')
}
