/*
 * The events of a page, for a process without one: the black hole needs `online`.
 */
import { setMaxListeners } from 'node:events'

const target = new EventTarget()
setMaxListeners(0, target)

/** The device is online again. */
export function comeOnline (): void {
  target.dispatchEvent(new Event('online'))
}

Object.assign(globalThis, {
  addEventListener: target.addEventListener.bind(target),
  removeEventListener: target.removeEventListener.bind(target),
  dispatchEvent: target.dispatchEvent.bind(target)
})
