/*
 * What the client takes from its runtime, a browser or another, when it needs it and never at import.
 */
import type { AbortSignalLike, EventLike, FetchLike, WebSocketLike } from './types'

/** A target of events, as `document` is. */
export interface TargetLike {
  addEventListener (type: string, listener: (event: any) => void): void
  removeEventListener (type: string, listener: (event: any) => void): void
  dispatchEvent (event: EventLike): boolean
}

interface Runtime extends TargetLike {
  readonly AbortController: new () => { readonly signal: AbortSignalLike, abort (): void }
  readonly DOMException: new (message: string, name: string) => Error
  readonly Event: new (type: string) => EventLike
  readonly EventTarget: new () => TargetLike
  readonly TextEncoder: new () => { encode (text: string): Uint8Array }
  readonly URL: new (url: string, base?: string) => { readonly href: string }
  readonly WebSocket: new (url: string, protocols: string[]) => WebSocketLike
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
  readonly #ends = new Set<() => void>()
  isOver = false

  /** Calls a function after a delay. @returns a function that cancels the timer */
  after (delay: number, run: () => void): () => void {
    const cancel = this.add(() => runtime.clearTimeout(timer))
    const timer = runtime.setTimeout(() => {
      cancel()
      run()
    }, Math.min(delay, MAX_DELAY))
    return cancel
  }

  /** Adds something that ends with the others. @returns a function that ends it alone */
  add (end: () => void): () => void {
    const once = (): void => { if (this.#ends.delete(once)) end() }
    this.#ends.add(once)
    return once
  }

  /**
   * Calls a function behind a microtask, with a deadline, and with a signal that says that its result is no longer needed.
   *
   * @returns its result. The promise stays pending if the scope ends
   */
  within<T> (delay: number, name: string, run: (signal: AbortSignalLike) => T | PromiseLike<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const controller = new runtime.AbortController()
      const finish = this.add(() => {
        cancel()
        controller.abort()
      })
      const cancel = this.after(delay, () => {
        finish()
        reject(new Error(`${name} took longer than ${delay} ms`))
      })
      const settle = <V> (settled: (value: V) => void) => (value: V): void => {
        if (controller.signal.aborted) return
        this.#ends.delete(finish)
        cancel()
        settled(value)
      }
      Promise.resolve().then(() => run(controller.signal)).then(settle(resolve), settle(reject))
    })
  }

  end (): void {
    this.isOver = true
    for (const end of this.#ends) end()
  }
}

/**
 * Starts to measure time. The clock of a device may be set, and the other one may stop while the device sleeps: the longer time counts.
 *
 * @returns a function that returns the elapsed time, in milliseconds
 */
export function startWatch (): () => number {
  const [steady, wall] = [runtime.performance.now(), Date.now()]
  return () => Math.max(runtime.performance.now() - steady, Date.now() - wall)
}
