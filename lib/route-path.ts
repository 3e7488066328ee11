/*
 * Finds the token in a path like `/rooms/7/<token>` before the router does: a JWT is longer than the router lets a
 * parameter be, and the path goes into the log. It may match more than the router would (case, doubled slashes, encoded
 * letters): what it takes out of a path that leads nowhere is missed by nobody.
 */

/** The path of a route that has the token as a parameter. */
export interface RoutePath {
  /** The name of the parameter. */
  readonly name: string
  /** One matcher a segment: a text in lower case, `null` for anything. */
  readonly segments: ReadonlyArray<string | null>
  readonly tokenIndex: number
  /** Whether anything may follow. */
  readonly isOpen: boolean
}

/**
 * Reads the path of a route.
 *
 * @returns `null` where the parameter is not one whole segment of it
 */
export function parseRoutePath (url: string, name: string): RoutePath | null {
  const segments = url.split('/').filter((segment) => segment !== '')
  const tokenIndex = segments.findIndex((segment) => segment === `:${name}` || segment === `:${name}?`)
  if (tokenIndex === -1) return null
  return {
    name,
    tokenIndex,
    isOpen: segments.at(-1) === '*',
    segments: segments.map((segment) => /[:*]/.test(segment) ? null : segment.toLowerCase())
  }
}

/** The first path that a URL fits, and where in the URL the token is. */
export function findParam (url: string, paths: readonly RoutePath[], queryStart: RegExp): { name: string, start: number, end: number } | null {
  const length = url.search(queryStart)
  const segments = [...(length === -1 ? url : url.slice(0, length)).matchAll(/[^/]+/g)]
  // The absolute form (RFC 9112, 3.2.2) begins with a scheme and a host.
  if (!url.startsWith('/')) segments.splice(0, 2)
  for (const path of paths) {
    if (!fits(segments, path)) continue
    const token = segments[path.tokenIndex]
    if (token !== undefined) return { name: path.name, start: token.index, end: token.index + token[0].length }
  }
  return null
}

function fits (segments: readonly RegExpExecArray[], path: RoutePath): boolean {
  if (path.isOpen ? segments.length < path.segments.length - 1 : segments.length !== path.segments.length) return false
  return path.segments.every((expected, i) => expected === null || expected === decode(segments[i]?.[0] ?? ''))
}

function decode (segment: string): string {
  try {
    return decodeURIComponent(segment).toLowerCase()
  } catch {
    return segment
  }
}
