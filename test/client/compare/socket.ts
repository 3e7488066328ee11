/*
 * The WebSocket for all libraries under comparison: that of ws, but an error without a listener ends no process, as in a browser.
 */
import { WebSocket as WsWebSocket } from 'ws'

export class WebSocket extends WsWebSocket {
  constructor (...args: ConstructorParameters<typeof WsWebSocket>) {
    super(...args)
    this.on('error', () => {})
  }
}
