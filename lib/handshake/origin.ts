/*
 * Which web page opened the connection (RFC 6455, 10.2). A browser sends cookies with a handshake from any page, and
 * the Origin is the only thing in it that the page cannot choose. Compared exactly: what is close is somebody else's.
 */

const DEFAULT_PORTS: ReadonlyMap<string, string> = new Map([['http:', ':80'], ['https:', ':443']])

/**
 * Whether an Origin names the host that the request was sent to.
 *
 * @param origin the Origin header
 * @param host the Host header, or what a trusted proxy says it was; without a port it stands for the default port of
 *   the Origin's scheme, since TLS may end at a proxy
 * @param isSecure whether the request came by https: then a page that came by http is of another origin, which whoever can
 *   change what goes over the network can write
 */
export function isSameHost (origin: string, host: string, isSecure: boolean): boolean {
  const scheme = origin.slice(0, origin.indexOf('/'))
  const port = DEFAULT_PORTS.get(scheme)
  if (port === undefined || host === '' || !origin.startsWith('//', scheme.length)) return false
  if (isSecure && scheme !== 'https:') return false
  return withPort(origin.slice(scheme.length + 2), port) === withPort(host.toLowerCase(), port)
}

/** A host with its port written out. A colon inside the brackets of an IPv6 address is not one. */
function withPort (host: string, port: string): string {
  return /:\d*$/.test(host) ? host : host + port
}
