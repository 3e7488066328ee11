/*
 * The websocket routes of an app and their policies, for a review, a test that compares, or a document.
 */
import { describeByAsyncApi } from './asyncapi'
import type { AsyncApiInfo } from './asyncapi'
import type { AppFacts } from './facts'
import { inspectRoute } from './inspected-route'
import type { InspectedRoute } from './inspected-route'
import { toMarkdown } from './markdown'
import { deepFreeze } from './plain-data'
import { WARNINGS, warningsOfApp } from './warnings'
import type { WarningName } from './warnings'

/** The websocket routes of an app, as data: deeply frozen, in an order that does not change, without secrets. JSON has all of it. */
export interface Inspection {
  /** By path. */
  readonly routes: readonly InspectedRoute[]
  /** The warnings about the app and about its routes: the name, and what to do. */
  readonly warnings: Readonly<Partial<Record<WarningName, string>>>
  /** A table in Markdown, and the warnings below it. */
  toString (): string
  /** A document of AsyncAPI 3.0: a channel for each route, and two operations with `security`. A new one at each call. */
  asyncapi (info?: AsyncApiInfo): Record<string, unknown>
}

/** Describes an app. */
export function inspect (app: AppFacts): Inspection {
  const routes = app.routes.map((route) => inspectRoute(route, app)).sort((one, other) => one.path < other.path ? -1 : Number(one.path > other.path))
  const names = new Set([...routes.flatMap(({ warnings }) => warnings), ...warningsOfApp(app)])
  const warnings = Object.fromEntries(Object.entries(WARNINGS).filter(([name]) => names.has(name as WarningName)))
  const data = structuredClone({ routes, warnings })
  // Not enumerable: a snapshot of this has data alone.
  return deepFreeze(Object.defineProperties(data, {
    toString: { value: () => toMarkdown(data) },
    asyncapi: { value: (info?: AsyncApiInfo) => describeByAsyncApi(data.routes, info) }
  }) as unknown as Inspection)
}
