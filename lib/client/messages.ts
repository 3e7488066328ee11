/*
 * The messages of a socket as an async iterator.
 */
import { errorOf, WsAuthClientError } from './error'
import type { AuthSocket, MessageEventLike } from './types'

type Result = IteratorResult<any, undefined>

/** Iterates over the messages from now on. @param max how many may wait */
export function iterateMessages (socket: AuthSocket, max: number): AsyncIterableIterator<any> {
  const kept: unknown[] = []
  const pulls: Array<[resolve: (result: Result) => void, reject: (error: Error) => void]> = []
  /** How it ended; `null` without an error. */
  let end: Error | null | undefined
  const finish = (error: Error | null): void => {
    if (end !== undefined) return
    end = error
    socket.removeEventListener('message', onMessage)
    socket.removeEventListener('state', onState)
    for (const [resolve, reject] of pulls.splice(0)) settle(resolve, reject)
  }
  const settle = (resolve: (result: Result) => void, reject: (error: Error) => void): void => {
    if (end instanceof Error) {
      reject(end)
      end = null
    } else resolve({ done: true, value: undefined })
  }
  const onMessage = ({ data }: MessageEventLike): void => {
    const [pull] = pulls.splice(0, 1)
    if (pull !== undefined) pull[0]({ done: false, value: data })
    else if (kept.push(data) > max) finish(new WsAuthClientError(`more than ${max} messages wait`))
  }
  const onState = (): void => {
    const { state } = socket
    if (state.status === 'closed') finish(null)
    else if (state.status === 'refused') finish(errorOf(state))
  }
  socket.addEventListener('message', onMessage)
  socket.addEventListener('state', onState)
  onState()
  return {
    [Symbol.asyncIterator] () { return this },
    next: async () => await new Promise<Result>((resolve, reject) => {
      if (kept.length > 0) resolve({ done: false, value: kept.shift() })
      else if (end !== undefined) settle(resolve, reject)
      else pulls.push([resolve, reject])
    }),
    return: async () => {
      kept.length = 0
      finish(null)
      return { done: true, value: undefined }
    }
  }
}
