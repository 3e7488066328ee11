/*
 * Finds the token in a path such as `/rooms/7/<token>` before the router does, because a JWT is longer than the router's
 * `maxParamLength`, and because the path goes into the log. A path is matched as the router does it: segment by segment, with a text
 * before a pattern, a pattern before a parameter, and a parameter before a wildcard.
 */

/** A segment of a route: a text in lower case, a pattern around parameters, or any text (`null`). */
type Segment = string | RegExp | null

/** The path of a route. */
export interface RoutePath {
  readonly segments: readonly Segment[]
  /** Whether it ends with a wildcard. */
  readonly isOpen: boolean
  /** Whether the last segment is optional. */
  readonly isOptional: boolean
  /** The parameter that has the token, and the index of its segment; `null` if no parameter has it. */
  readonly token: { readonly name: string, readonly index: number } | null
}

/** The token in a URL. */
export interface FoundParam {
  /** The name of the parameter. */
  readonly name: string
  readonly start: number
  readonly end: number
}

/** The router's settings for slashes. */
export interface Slashes {
  readonly ignoreTrailingSlash: boolean
  readonly ignoreDuplicateSlashes: boolean
}

const STRICT: Slashes = { ignoreTrailingSlash: false, ignoreDuplicateSlashes: false }

/**
 * Reads the path of a route.
 *
 * @param name the parameter that has the token; `null` for none
 * @param maxParamLength the longest parameter that the router accepts
 */
export function parseRoutePath (url: string, name: string | null, maxParamLength = 100): RoutePath {
  const isOptional = /\/:[^/()]*\?\/?$/.test(url)
  const segments = (isOptional ? url.replace(/\?(?=\/?$)/, '') : url).split('/').filter((segment) => segment !== '')
  const index = name === null ? -1 : segments.indexOf(`:${name}`)
  const isOpen = segments.at(-1)?.endsWith('*') === true
  return {
    token: name === null || index === -1 ? null : { name, index },
    isOpen,
    isOptional,
    segments: (isOpen ? segments.slice(0, -1) : segments).map((segment) => parseSegment(segment, maxParamLength))
  }
}

/** Reads `file`, `:id`, `:id(^\\d+$)` or `:name.:type`. A segment that cannot be read matches any text. */
function parseSegment (segment: string, maxParamLength: number): Segment {
  if (!segment.includes(':')) return segment.toLowerCase()
  if (/^:\w+$/.test(segment)) return null
  let text = ''
  let isFirst = true
  const pattern = segment.replace(/:\w+(?:\((.*?)\)(?=$|[^)]))?|[^:]+/g, (part, own?: string) => {
    if (!part.startsWith(':')) return (text = part.replace(/\W/g, '\\$&'))
    const any = isFirst ? '.*?' : `(?:${text}|(?:(?!${text}).)*)`
    isFirst = own !== undefined
    return own === undefined ? any : `(?:${own.replace(/^\^|\$$/g, '')})`
  })
  // The router accepts no longer segment, and a pattern that is fast for 100 characters may take seconds for 16,000.
  const longest = segment.split(':').length * maxParamLength + segment.length
  try {
    return new RegExp(`^(?=[^]{0,${longest}}$)${pattern}$`, 'i')
  } catch {
    return null
  }
}

/** Finds the token in a URL, if the route of the URL has its token in the path. */
export function findParam (url: string, paths: readonly RoutePath[], queryStart: RegExp, slashes = STRICT): FoundParam | null {
  const length = url.search(queryStart)
  const segments = [...(length === -1 ? url : url.slice(0, length)).matchAll(/(?<=\/)[^/]*/g)]
  // The absolute form (RFC 9112, 3.2.2) begins with a scheme and a host.
  if (!url.startsWith('/')) segments.splice(0, 2)
  // The router accepts an empty parameter. It ignores extra slashes only if its settings say so.
  const read = segments.filter(([segment], i) => segment !== '' || !(i === segments.length - 1 ? slashes.ignoreTrailingSlash : slashes.ignoreDuplicateSlashes))
  const path = findPath(read, paths)
  if (path !== undefined && (path.token !== null || !path.isOpen)) return tokenIn(read, path)
  // A route may be declared with a slash at its end, or in both forms (`prefixTrailingSlash`). Only other paths go to a wildcard, so the
  // token is taken out here.
  const filled = segments.filter(([segment]) => segment !== '')
  return tokenIn(filled, findPath(filled, paths))
}

function findPath (segments: readonly RegExpExecArray[], paths: readonly RoutePath[]): RoutePath | undefined {
  const texts = segments.map(([segment]) => decode(segment))
  return paths.filter((path) => fits(texts, path)).sort(byPrecedence)[0]
}

function tokenIn (segments: readonly RegExpExecArray[], path: RoutePath | undefined): FoundParam | null {
  const segment = segments[path?.token?.index ?? -1]
  if (path?.token == null || segment === undefined || segment[0] === '') return null
  return { name: path.token.name, start: segment.index, end: segment.index + segment[0].length }
}

function fits (texts: readonly string[], { segments, isOpen, isOptional }: RoutePath): boolean {
  const more = texts.length - segments.length
  if (isOpen ? more < 1 : more !== 0 && !(isOptional && more === -1)) return false
  return segments.slice(0, texts.length).every((expected, i) => {
    if (expected instanceof RegExp) return expected.test(String(texts[i]))
    return expected === null || expected === texts[i]
  })
}

/** Orders two matching routes: a text comes before a parameter, and a parameter before a wildcard. */
function byPrecedence (one: RoutePath, other: RoutePath): number {
  const length = Math.max(one.segments.length, other.segments.length)
  for (let i = 0; i < length; i++) {
    const difference = rank(other.segments[i]) - rank(one.segments[i])
    if (difference !== 0) return difference
  }
  // The routes differ only in their constraints (host, version), which are unknown here: then the token is taken out.
  return Number(other.token !== null) - Number(one.token !== null)
}

function rank (segment: Segment | undefined): number {
  if (segment === undefined) return 0
  if (segment === null) return 1
  return segment instanceof RegExp ? 2 : 3
}

/** Paths are compared without case and encoding. A token that is taken out of a path without a route does no harm. */
function decode (segment: string): string {
  try {
    return decodeURIComponent(segment).toLowerCase()
  } catch {
    return segment
  }
}
