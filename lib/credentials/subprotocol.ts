/*
 * Tokens in Sec-WebSocket-Protocol, as `<marker>, <token>` or `base64url.<marker>.<token in base64url>`. They are taken out, because
 * the server answers with one of the subprotocols.
 */
import type { IncomingMessage } from 'node:http'
import { HTTP_TOKEN } from '../base/grammar'
import { trimSpaces } from '../base/http-headers'
import type { FoundToken, TakenCredentials } from './found'
import { setHeader } from './set-header'

/** Clients that understand auth frames offer it. It is not a protocol of the app. */
const OUR_PROTOCOL = 'ws-auth'

/** Whether a client offers to speak auth frames. */
export function offersFrames (header = ''): boolean {
  return header.includes(OUR_PROTOCOL) && header.split(',').map(trimSpaces).includes(OUR_PROTOCOL)
}

const ENCODED = /^base64url\.([^.]+)\.(.*)$/

export function takeFromProtocols (request: IncomingMessage, header: string, markers: ReadonlySet<string>): Pick<TakenCredentials, 'subprotocol' | 'hasValidProtocols'> {
  const offered = header.split(',').map(trimSpaces)
  const found: FoundToken[] = []
  const rest = offered.filter((entry, i) => {
    const marker = offered[i - 1]
    const [, name = '', encoded = ''] = ENCODED.exec(entry) ?? []
    if (marker !== undefined && markers.has(marker)) {
      found.push({ name: marker, token: name === marker ? decodeEntry(encoded) : entry })
      return false
    }
    if (!markers.has(name)) return true
    found.push({ name, token: decodeEntry(encoded) })
    return false
  })
  const isList = offered.every((entry) => HTTP_TOKEN.test(entry)) && new Set(offered).size === offered.length
  if (found.length > 0) setHeader(request, 'sec-websocket-protocol', rest.join(', '))
  return { subprotocol: found, hasValidProtocols: isList && rest.length > 0 }
}

function decodeEntry (encoded: string): string {
  return Buffer.from(encoded, 'base64url').toString()
}

/**
 * Chooses the subprotocol of the answer (RFC 6455, 4.2.2): the app's choice, else the first that is not a marker, else a marker. If the
 * client offers any, the server must choose one, because browsers fail the connection otherwise.
 */
export function chooseProtocol (offered: Set<string>, markers: ReadonlySet<string>, chosen: string | false | undefined): string | false {
  if (chosen) return chosen
  const own = [...offered].find((protocol) => !markers.has(protocol) && protocol !== OUR_PROTOCOL)
  return own ?? [...offered][0] ?? false
}
