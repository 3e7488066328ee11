/*
 * The apps of this process and their parts, for `fastify-ws-auth/testing` alone: it signs tokens as an app expects them, and moves the clock
 * of all apps. An app pays for it once, when it is registered.
 */
import type { FastifyInstance } from 'fastify'
import type { Parts } from './parts'

/** An app with the plugin. */
export interface RunningApp {
  readonly app: FastifyInstance
  readonly parts: Parts
}

/** By the decorator `app.wsAuth`, which all scopes of an app share. */
const apps = new WeakMap<object, RunningApp>()
/** Weak, because an app may never be closed. */
const running = new Set<WeakRef<RunningApp>>()

/** Remembers an app until it closes. */
export function rememberApp (app: FastifyInstance, parts: Parts): void {
  const entry = { app, parts }
  const ref = new WeakRef(entry)
  apps.set(app.wsAuth, entry)
  running.add(ref)
  app.addHook('onClose', (_app, done) => { running.delete(ref); done() })
}

/** The parts of an app, or `undefined` if fastify-ws-auth is not registered in it. */
export function partsOf (app: FastifyInstance): Parts | undefined {
  return Object(app).wsAuth === undefined ? undefined : apps.get(app.wsAuth)?.parts
}

/** The apps that are not closed. */
export function * runningApps (): Generator<RunningApp> {
  for (const ref of running) {
    const found = ref.deref()
    if (found === undefined) running.delete(ref)
    else yield found
  }
}
