/*
 * Finds the token in a path like `/rooms/7/<token>` before the router does: a JWT is longer than the router lets a
 * parameter be, and the path goes into the log. Which route a path leads to is decided as the router decides it: segment
 * by segment, a text before a pattern before a parameter before anything that follows.
 */

/** What a segment must be: a text in lower case, a pattern around parameters, or anything (`null`). */
type Segment = string | RegExp | null

/** The path of a route. */
export interface RoutePath {
  readonly segments: readonly Segment[]
  /** Whether anything may follow. */
  readonly isOpen: boolean
  /** Whether the last may be left out. */
  readonly isOptional: boolean
  /** Where the token is; `null` where it is in no parameter. */
  readonly token: { readonly name: string, readonly index: number } | null
}

/** Where in a URL the token is. */
export interface FoundParam {
  /** Of the parameter. */
  readonly name: string
  readonly start: number
  readonly end: number
}

/** What the router was told of slashes. */
export interface Slashes {
  readonly ignoreTrailingSlash: boolean
  readonly ignoreDuplicateSlashes: boolean
}

const STRICT: Slashes = { ignoreTrailingSlash: false, ignoreDuplicateSlashes: false }

/**
 * Reads the path of a route.
 *
 * @param name the parameter that holds the token; `null` for none
 * @param maxParamLength how long the router lets a parameter be
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

/** As `file`, `:id`, `:id(^\\d+$)` and `:name.:type` are written in a route; what cannot be read is taken for anything. */
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
  // Nothing longer leads there, and a pattern that is harmless for 100 characters would take seconds for 16,000.
  const longest = segment.split(':').length * maxParamLength + segment.length
  try {
    return new RegExp(`^(?=[^]{0,${longest}}$)${pattern}$`, 'i')
  } catch {
    return null
  }
}

/** Where in a URL the token is, if the route that it leads to has it there. */
export function findParam (url: string, paths: readonly RoutePath[], queryStart: RegExp, slashes = STRICT): FoundParam | null {
  const length = url.search(queryStart)
  const segments = [...(length === -1 ? url : url.slice(0, length)).matchAll(/(?<=\/)[^/]*/g)]
  // The absolute form (RFC 9112, 3.2.2) begins with a scheme and a host.
  if (!url.startsWith('/')) segments.splice(0, 2)
  // The router lets a parameter be empty, and where it was told to, ignores slashes that are too many.
  const read = segments.filter(([segment], i) => segment !== '' || !(i === segments.length - 1 ? slashes.ignoreTrailingSlash : slashes.ignoreDuplicateSlashes))
  const path = findPath(read, paths)
  if (path !== undefined && (path.token !== null || !path.isOpen)) return tokenIn(read, path)
  // A route may have been declared with a slash at its end, or twice, without one and with one (`prefixTrailingSlash`); only
  // what is left over would go to one that is open. Better the token is taken out.
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

/** Of two routes that a path fits: the one with a text where the other has a parameter or is open. */
function byPrecedence (one: RoutePath, other: RoutePath): number {
  const length = Math.max(one.segments.length, other.segments.length)
  for (let i = 0; i < length; i++) {
    const difference = rank(other.segments[i]) - rank(one.segments[i])
    if (difference !== 0) return difference
  }
  // Alike but for their constraints (host, version), which are not asked here: better the token is taken out for both.
  return Number(other.token !== null) - Number(one.token !== null)
}

function rank (segment: Segment | undefined): number {
  if (segment === undefined) return 0
  if (segment === null) return 1
  return segment instanceof RegExp ? 2 : 3
}

/** Compared without case and encoding: what is taken out of a path that leads nowhere is missed by nobody. */
function decode (segment: string): string {
  try {
    return decodeURIComponent(segment).toLowerCase()
  } catch {
    return segment
  }
}
