/*
 * The events of a page that tell when to come back, and when to go.
 */
import { runtime } from './runtime'
import type { AbortSignalLike } from './types'

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
 * Listens to the page until the signal is aborted.
 *
 * @param onBack the page is back, with the milliseconds within which to come back; or the device is online, without
 * @param onHide the page goes into the cache of the browser, or ends
 */
export function listenToPage (options: { readonly signal: AbortSignalLike }, onBack: (spread?: number) => void, onHide: () => void): void {
  const { document } = runtime
  const onShow = (): void => onBack(SPREAD)
  // All devices of an office are online at once.
  runtime.addEventListener('online', () => onBack(), options)
  runtime.addEventListener('pageshow', onShow, options)
  runtime.addEventListener('pagehide', onHide, options)
  // A page that is thawed may still be hidden.
  document?.addEventListener('resume', onShow, options)
  document?.addEventListener('visibilitychange', () => { if (document.visibilityState !== 'hidden') onShow() }, options)
}
