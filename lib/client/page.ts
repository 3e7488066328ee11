/*
 * The events of a page that tell when to come back, and when to go.
 */
import { runtime } from './runtime'

/** Within how many milliseconds the sockets of one device come back, at random. */
const SPREAD = 250

/** Whether there is a page, or a worker of one. */
export function hasPage (): boolean {
  return 'ononline' in runtime
}

export function isOffline (): boolean {
  return runtime.navigator?.onLine === false
}

/**
 * Listens to the page.
 *
 * @param onBack the page is back, with the milliseconds within which to come back; or the device is online, without
 * @param onHide the page goes into the cache of the browser, or ends
 * @returns a function that ends it
 */
export function listenToPage (onBack: (spread?: number) => void, onHide: () => void): () => void {
  const { document } = runtime
  const onShow = (): void => onBack(SPREAD)
  const listeners: ReadonlyArray<readonly [typeof runtime | typeof document, string, () => void]> = [
    // All devices of an office are online at once.
    [runtime, 'online', () => onBack()],
    [runtime, 'pageshow', onShow],
    [runtime, 'pagehide', onHide],
    // A page that is thawed may still be hidden.
    [document, 'resume', onShow],
    [document, 'visibilitychange', () => { if (document?.visibilityState !== 'hidden') onShow() }]
  ]
  for (const [target, type, listener] of listeners) target?.addEventListener(type, listener)
  return () => { for (const [target, type, listener] of listeners) target?.removeEventListener(type, listener) }
}
