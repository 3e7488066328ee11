/*
 * The parts of the apps of this process, for `fastify-ws-auth/testing` alone: it signs tokens as an app expects them, and moves the clock of
 * all apps. An app pays for it once, when it is registered.
 */
import type { FastifyInstance } from 'fastify'
import type { Parts } from './parts'

/** By the decorator `app.wsAuth`, which all scopes of an app share. */
const parts = new WeakMap<object, Parts>()
/** Weak, because an app may never be closed. */
const running = new Set<WeakRef<Parts>>()

/** Remembers an app until it closes. */
export function rememberApp (app: FastifyInstance, given: Parts): void {
  const ref = new WeakRef(given)
  parts.set(app.wsAuth, given)
  running.add(ref)
  app.addHook('onClose', (_app, done) => { running.delete(ref); done() })
}

/** The parts of an app, or `undefined` if fastify-ws-auth is not registered in it. */
export function partsOf (app: FastifyInstance): Parts | undefined {
  return Object(app).wsAuth === undefined ? undefined : parts.get(app.wsAuth)
}

/** The apps that are not closed. */
export function * runningApps (): Generator<Parts> {
  for (const ref of running) {
    const found = ref.deref()
    if (found === undefined) running.delete(ref)
    else yield found
  }
}
