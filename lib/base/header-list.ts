/*
 * RFC 9110, 5.6.1: a header whose value is a list of names, with commas and spaces between them. The names of Upgrade and of
 * Connection are compared without case (RFC 9110, 7.8 and 7.6.1).
 */

/** Makes a function that answers whether a header lists a name. Most headers have that name alone. */
export function listing (name: string): (header: string | undefined) => boolean {
  const alone = new RegExp(`^${name}$`, 'i')
  const among = new RegExp(`(?:^|,)[ \\t]*${name}[ \\t]*(?:,|$)`, 'i')
  return (header = '') => alone.test(header) || among.test(header)
}
