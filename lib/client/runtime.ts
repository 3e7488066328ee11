/*
 * What the client takes from its runtime, a browser or another, when it needs it and never at import.
 */
import type { AbortSignalLike, EventLike, FetchLike, SocketLike } from './types'

/** A target of events, as `document` is. */
export interface TargetLike {
  addEventListener (type: string, listener: (event: any) => void, options?: { readonly signal: AbortSignalLike }): void
  removeEventListener (type: string, listener: (event: any) => void): void
  dispatchEvent (event: EventLike): boolean
}

/** An `AbortController`. */
export interface AbortControllerLike {
  readonly signal: AbortSignalLike
  abort (): void
}

interface Runtime extends TargetLike {
  readonly AbortController: new () => AbortControllerLike
  readonly DOMException: new (message: string, name: string) => Error
  readonly Event: new (type: string) => EventLike
  readonly EventTarget: new () => TargetLike
  readonly TextEncoder: new () => { encode (text: string): Uint8Array }
  readonly URL: new (url: string, base?: string) => { readonly href: string }
  readonly WebSocket: new (url: string, protocols: string[]) => SocketLike
  readonly document?: TargetLike & { readonly visibilityState: string }
  readonly fetch: FetchLike
  readonly location?: { readonly href: string }
  readonly navigator?: { readonly onLine?: boolean }
  readonly performance: { now (): number }
  btoa (binary: string): string
  clearTimeout (timer: unknown): void
  setTimeout (run: () => void, delay: number): unknown
}

export const runtime = globalThis as unknown as Runtime

/** The longest delay of a timer, in milliseconds. A longer one would fire at once. */
const MAX_DELAY = 2 ** 31 - 1

/** Timers and calls that end together. */
export class Scope {
  isOver = false
  /** What ends with each timer. */
  readonly #ends = new Map<unknown, (() => void) | undefined>()

  /**
   * Calls a function after a delay.
   *
   * @param onEnd called if the scope ends before
   * @returns a function that cancels the timer
   */
  after (delay: number, run: () => void, onEnd?: () => void): () => void {
    const timer = runtime.setTimeout(() => {
      cancel()
      run()
    }, Math.min(delay, MAX_DELAY))
    const cancel = (): void => {
      runtime.clearTimeout(timer)
      this.#ends.delete(timer)
    }
    this.#ends.set(timer, onEnd)
    return cancel
  }

  /** Calls a function behind a microtask, with a deadline, and with a signal that says that its result is no longer needed. @throws its error */
  within<T> (delay: number, run: (signal: AbortSignalLike) => T | PromiseLike<T>): Promise<T> {
    const controller = new runtime.AbortController()
    return new Promise((resolve, reject) => {
      const stop = (): void => {
        controller.abort()
        reject(new Error('timed out'))
      }
      if (this.isOver) return stop()
      const cancel = this.after(delay, stop, stop)
      void Promise.resolve(controller.signal).then((signal) => signal.aborted ? null as T : run(signal)).then(resolve, reject).then(cancel)
    })
  }

  end (): void {
    this.isOver = true
    this.#ends.forEach((onEnd, timer) => {
      runtime.clearTimeout(timer)
      this.#ends.delete(timer)
      onEnd?.()
    })
  }
}

/**
 * Starts to measure time. The clock of a device may be set, and the other one may stop while the device sleeps: the longer time counts.
 *
 * @returns a function that returns the elapsed time, in milliseconds
 */
export function startWatch (): () => number {
  const { performance } = runtime
  const [start, startDate] = [performance.now(), Date.now()]
  return () => Math.max(performance.now() - start, Date.now() - startDate)
}
