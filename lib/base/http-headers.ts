/*
 * The headers of a request, as Node.js keeps them.
 */
import type { IncomingMessage } from 'node:http'

/** How many times the client sent a header. Node keeps only the first of some headers. */
export function countHeader (rawHeaders: readonly string[] | undefined, name: string): number {
  let count = 0
  if (rawHeaders === undefined) return count
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const header = rawHeaders[i]
    if (header?.length === name.length && header.toLowerCase() === name) count++
  }
  return count
}

/** Whether a request came by HTTP/2. Node throws if a reply to it has headers about the connection (RFC 9113, 8.2.2). */
export function isHttp2 ({ httpVersionMajor }: IncomingMessage): boolean {
  return httpVersionMajor >= 2
}

/** Removes spaces and tabs around a text (RFC 9110, 5.6.3). `trim` removes more, and ws refuses such a header later. */
export function trimSpaces (text: string): string {
  let start = 0
  let end = text.length
  while (isSpace(text[start])) start++
  while (end > start && isSpace(text[end - 1])) end--
  return text.slice(start, end)
}

function isSpace (character: string | undefined): boolean {
  return character === ' ' || character === '\t'
}
