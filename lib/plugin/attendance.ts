/*
 * Joining and leaving the backplane: the start of the app waits for it, and so does the end.
 */
import type { FastifyInstance } from 'fastify'
import type { BackplaneLink } from '../backplane/contract'
import { withDeadline } from '../base/deadline'
import { quietLog } from '../base/quiet-log'

/** How long the start of the app waits for the backplane, in milliseconds. After that, handshakes are refused until it is ready. */
const JOIN_TIMEOUT = 2000
/** How long the end of the app waits until the backplane is left, in milliseconds. */
const LEAVE_TIMEOUT = 3000

/** Adds the hooks that wait for the backplane at the start, and leave it at the end. */
export function attend (app: FastifyInstance, link: BackplaneLink): void {
  let left: Promise<void> | undefined
  const { ready } = link
  // The hook below handles a rejection later. Until then, an unhandled rejection would end the process.
  Promise.resolve(ready).catch(() => {})
  app.addHook('onReady', async () => {
    await withDeadline(ready, JOIN_TIMEOUT, 'joining the backplane').catch((error: unknown) => {
      if (error instanceof TypeError) throw error
      quietLog(app.log).warn({ err: error }, 'handshakes are refused until the backplane can be reached')
    })
  })
  // Before the connections are closed: other instances must not wait for an answer of this one.
  app.addHook('preClose', (done) => { left = leave(app, link); done() })
  app.addHook('onClose', async () => await left)
}

/** Never rejects: the app closes in any case. */
async function leave (app: FastifyInstance, link: BackplaneLink): Promise<void> {
  try {
    await withDeadline(link.leave(), LEAVE_TIMEOUT, 'leaving the backplane')
  } catch (error) {
    quietLog(app.log).warn({ err: error }, 'the backplane could not be left')
  }
}
