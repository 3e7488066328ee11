/*
 * The messages of a socket as an async iterator.
 */
import { errorOf, WsAuthClientError } from './error'
import type { AuthSocket, MessageEventLike } from './types'

/** Iterates over the messages from now on. @param max how many may wait */
export function iterateMessages (socket: AuthSocket, max: number): AsyncIterableIterator<any> {
  const kept: unknown[] = []
  /** How it ended; `null` without an error. */
  let end: Error | null | undefined
  let wake = (): void => {}
  const finish = (error: Error | null): void => {
    end = error
    socket.removeEventListener('message', onMessage)
    unsubscribe()
    wake()
  }
  const onMessage = ({ data }: MessageEventLike): void => {
    if (kept.push(data) > max) finish(new WsAuthClientError(`more than ${max} messages wait`))
    wake()
  }
  const onState = (): void => {
    const { state } = socket
    if (state.status === 'closed') finish(null)
    else if (state.status === 'refused') finish(errorOf(state))
  }
  const messages = (async function * () {
    for (;;) {
      if (kept.length > 0) yield kept.shift()
      else if (end === undefined) await new Promise<void>((resolve) => { wake = resolve })
      else if (end === null) return
      else throw end
    }
  })()
  socket.addEventListener('message', onMessage)
  const unsubscribe = socket.subscribe(onState)
  onState()
  return Object.assign(messages, {
    return: async () => {
      kept.length = 0
      finish(null)
      return { done: true as const, value: undefined }
    }
  })
}
