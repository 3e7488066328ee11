// @ts-check
/*
 * What a client says to be let in, and what it has to be answered: the bytes of the opening handshake, and where that is not
 * all, of what follows.
 */
import { textFrame } from './frames.mjs'

/** @typedef {'none' | 'header' | 'query' | 'subprotocol' | 'cookie' | 'param' | 'ticket' | 'message' | 'packet'} Carrier  where the token is */
/** @typedef {{ until: string, say: Buffer | null }} Turn  what has to come, and what is said then */
/** @typedef {{ request: string, status: number, turns: Turn[] }} Script */

const END_OF_HEAD = '\r\n\r\n'

/**
 * @param {{ carrier: Carrier, isAccepted: boolean, origin?: string | null }} how
 * @param {string} token
 * @param {string} path of the route
 * @param {string | null} hears what it waits for once it is let in
 * @returns {Script}
 */
export function createScript ({ carrier, isAccepted, origin = null }, token, path = '/chat', hears = null) {
  const script = carrier === 'packet' ? socketIoScript(token, path, isAccepted) : plainScript(carrier, token, path, isAccepted, origin)
  return hears === null ? script : { ...script, turns: [...script.turns, { until: hears, say: null }] }
}

function plainScript (carrier, token, path, isAccepted, origin) {
  const request = createRequest(carrier, token, path, origin)
  const head = { until: END_OF_HEAD, say: null }
  if (carrier !== 'message') return { request, status: isAccepted ? 101 : 401, turns: [head] }
  const first = { until: END_OF_HEAD, say: textFrame(JSON.stringify({ type: 'auth', token })) }
  return { request, status: 101, turns: [first, { until: isAccepted ? '"auth.ok"' : 'token_invalid', say: null }] }
}

/** socket.io lets everybody in and asks then: its packets are text, 0 opens, 40 connects, 44 refuses. */
function socketIoScript (token, path, isAccepted) {
  const connect = textFrame(`40${JSON.stringify(token === '' ? {} : { token })}`)
  return {
    request: createRequest('none', '', `/socket.io/?EIO=4&transport=websocket&on=${path.slice(1)}`),
    status: 101,
    turns: [{ until: '0{"sid"', say: connect }, { until: isAccepted ? '40{"sid"' : '44{"message"', say: null }]
  }
}

/**
 * The bytes of an opening handshake (RFC 6455, 4.1). The token comes first, as from clients that add it by hand: what is
 * taken out of the middle costs more than what is taken off the end.
 *
 * @param {Carrier} carrier
 * @param {string} token
 */
function createRequest (carrier, token, path, origin = null) {
  const urls = { query: `${path}?token=${token}`, ticket: `${path}?ticket=${token}`, param: `${path}/${token}` }
  const lines = {
    header: [`Authorization: Bearer ${token}`],
    subprotocol: [`Sec-WebSocket-Protocol: chat, bearer, ${token}`],
    cookie: [`Cookie: token=${token}`]
  }
  return [
    `GET ${urls[carrier] ?? path} HTTP/1.1`,
    ...lines[carrier] ?? [],
    ...origin === null ? [] : [`Origin: ${origin}`],
    'Host: 127.0.0.1',
    'User-Agent: bench',
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    '', ''
  ].join('\r\n')
}
