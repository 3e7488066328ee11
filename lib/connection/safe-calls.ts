/*
 * Calls of a socket that do not throw. This package makes them in timers, or on behalf of another user, where no code could catch
 * an error; a class of the app (`websocket.options.WebSocket`) may throw in any of them.
 */
import { WebSocket } from 'ws'

/** Sends a text. @param done is called once the text was sent, or cannot be sent */
export function sendSafely (socket: WebSocket, text: string, done: () => void = () => {}): void {
  try {
    socket.send(text, done)
  } catch {
    done()
  }
}

/** Sends a ping. @returns whether that was possible */
export function pingSafely (socket: WebSocket): boolean {
  try {
    socket.ping()
    return true
  } catch {
    return false
  }
}

/** Closes a socket. If that throws, terminates it. */
export function closeSafely (socket: WebSocket, code: number, reason: string): void {
  try {
    socket.close(code, reason)
  } catch {
    terminateSafely(socket)
  }
}

/** Terminates a socket. If that throws, calls the method of ws itself. */
export function terminateSafely (socket: WebSocket): void {
  try {
    socket.terminate()
  } catch {
    WebSocket.prototype.terminate.call(socket)
  }
}
