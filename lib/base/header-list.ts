/*
 * Headers whose value is a list of names, such as Upgrade and Connection (RFC 9110, 5.6.1). The names have no case (7.8 and 7.6.1).
 */

/** Makes a function that tells whether a header lists a name. It first tries the usual case, a list of one name. */
export function listing (name: string): (header: string | undefined) => boolean {
  const alone = new RegExp(`^${name}$`, 'i')
  const among = new RegExp(`(?:^|,)[ \\t]*${name}[ \\t]*(?:,|$)`, 'i')
  return (header = '') => alone.test(header) || among.test(header)
}
