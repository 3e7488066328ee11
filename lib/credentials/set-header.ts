/*
 * Changes a header in every place where Node keeps it, so that no later code finds the old value.
 */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { isHttp2 } from '../base/http-headers'

/** Sets a header, or removes it if the value is empty. `rawHeaders` keeps its length, because Node has counted it. */
export function setHeader (request: IncomingMessage, name: string, value: string): void {
  if (value !== '') request.headers[name] = value
  // The headers of an HTTP/2 request have no setter; such a request never becomes a connection.
  else if (isHttp2(request)) delete request.headers[name]
  else request.headers = without(request.headers, name)
  // Node makes this object once and keeps it; now Node makes it again.
  request.headersDistinct = undefined as never
  setRawHeader(request.rawHeaders, name, value)
}

function setRawHeader (rawHeaders: string[] | undefined, name: string, value: string): void {
  if (rawHeaders === undefined) return
  let next = value
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (rawHeaders[i]?.length !== name.length || rawHeaders[i]?.toLowerCase() !== name) continue
    rawHeaders[i + 1] = next
    next = ''
  }
}

/**
 * Copies the headers without one. V8 turns an object into a dictionary when a property is deleted, which costs 400 bytes for as long as
 * the connection lives. The old object loses the header too, because other code may hold it.
 */
function without (headers: IncomingHttpHeaders, name: string): IncomingHttpHeaders {
  const { [name]: taken, ...rest } = headers
  headers[name] = undefined
  return rest
}
