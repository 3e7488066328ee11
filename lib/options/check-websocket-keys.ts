/*
 * Checks the names in the option `websocket`. ws and @fastify/websocket ignore a name that they do not know, so that a misplaced or
 * misspelt `maxPayload` would leave messages of 100 MiB.
 */
import { checkKeys, invalid, isObject } from '../base/checks'
import { didYouMean } from '../base/near-names'

/** Options of a server of ws 8. */
const OF_WS = ['allowSynchronousEvents', 'autoPong', 'backlog', 'clientTracking', 'closeTimeout', 'handleProtocols', 'host', 'maxBufferedChunks', 'maxFragments',
  'maxPayload', 'maxPendingAutoPongs', 'noServer', 'path', 'perMessageDeflate', 'port', 'server', 'skipUTF8Validation', 'verifyClient', 'WebSocket']
const ELSEWHERE: ReadonlyMap<string, string> = new Map(OF_WS.map((name) => [name, `websocket.options.${name}`]))

/**
 * A name that is like none of ws passes, because a newer ws may know it.
 *
 * @throws TypeError `"<option>" option must be <what>`
 */
export function checkWebsocketKeys (websocket: unknown): void {
  if (!isObject(websocket)) return
  checkKeys(websocket, 'websocket.', ['options', 'errorHandler', 'preClose'], ELSEWHERE)
  if (!isObject(websocket.options)) return
  for (const name of Object.keys(websocket.options).filter((name) => !OF_WS.includes(name))) {
    const meant = didYouMean(name, OF_WS)
    if (meant !== '') invalid(`websocket.options.${name}`, `left out: there is no such option${meant}`)
  }
}
