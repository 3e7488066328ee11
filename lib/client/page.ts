/*
 * The events of a page that tell when to come back, and when to go.
 */
import { runtime } from './runtime'

/** What a socket does at an event of the page. */
export interface PageEvents {
  /** The page is back, or the device is online. @param spread come back within so many milliseconds, at random */
  onBack (spread: number | null): void
  /** The page goes into the cache of the browser, or ends. */
  onHide (): void
}

/** The spread of the sockets of one device, in milliseconds. */
const SPREAD = 250

/** Whether there is a page, or a worker of one. */
export function hasPage (): boolean {
  return runtime.document !== undefined || 'ononline' in runtime
}

export function isOffline (): boolean {
  return runtime.navigator?.onLine === false
}

/** Listens to the page. @returns a function that ends it */
export function listenToPage (events: PageEvents): () => void {
  const { document } = runtime
  const onBack = (): void => events.onBack(SPREAD)
  const listeners: ReadonlyArray<readonly [typeof runtime | typeof document, string, () => void]> = [
    // All devices of an office are online at once.
    [runtime, 'online', () => events.onBack(null)],
    [runtime, 'pageshow', onBack],
    [runtime, 'pagehide', () => events.onHide()],
    [document, 'resume', onBack],
    [document, 'visibilitychange', () => { if (document?.visibilityState === 'visible') onBack() }]
  ]
  for (const [target, type, listener] of listeners) target?.addEventListener(type, listener)
  return () => { for (const [target, type, listener] of listeners) target?.removeEventListener(type, listener) }
}
