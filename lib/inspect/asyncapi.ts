/*
 * The websocket routes of an app as a document of AsyncAPI 3.0.0 (https://www.asyncapi.com/docs/reference/specification/v3.0.0).
 */
import type { InspectedRoute, InspectedSources } from './inspected-route'

/** The `info` of the document. */
export interface AsyncApiInfo {
  /** Default `'WebSocket API'`. */
  readonly title?: string
  /** The version of the API, not of AsyncAPI. Default `'1.0.0'`. */
  readonly version?: string
  readonly description?: string
}

type SecurityScheme = Readonly<Record<string, string>>

/** Makes the document. It describes no messages: they are the app's own. */
export function describeByAsyncApi (routes: readonly InspectedRoute[], info: AsyncApiInfo = {}): Record<string, unknown> {
  const channels: Record<string, object> = {}
  const operations: Record<string, object> = {}
  const securitySchemes: Record<string, SecurityScheme> = {}
  for (const route of routes) {
    const id = freeId(channels, idOf(route.path))
    const schemes = Object.entries(schemesOf(route.sources)).map(([name, scheme]) => addScheme(securitySchemes, name, scheme))
    channels[id] = channelOf(route)
    for (const action of ['receive', 'send']) operations[`${id}.${action}`] = operationOf(route, action, id, schemes)
  }
  return {
    asyncapi: '3.0.0',
    info: { title: 'WebSocket API', version: '1.0.0', ...info },
    defaultContentType: 'application/json',
    channels,
    operations,
    ...(Object.keys(securitySchemes).length > 0 && { components: { securitySchemes } })
  }
}

function channelOf ({ path }: InspectedRoute): object {
  const { address, names } = addressOf(path)
  return {
    address,
    ...(names.length > 0 && { parameters: Object.fromEntries(names.map((name) => [name, {}])) }),
    bindings: { ws: { method: 'GET' } }
  }
}

function operationOf (route: InspectedRoute, action: string, id: string, schemes: readonly string[]): object {
  const { access, origin, roles, scopes, authorize, requireTls, constraints } = route
  return {
    action,
    channel: { $ref: `#/channels/${id}` },
    ...(schemes.length > 0 && { security: schemes.map((name) => ({ $ref: `#/components/securitySchemes/${name}` })) }),
    'x-ws-auth': structuredClone({ access, origin, roles, scopes, authorize, requireTls, constraints })
  }
}

/**
 * A path of the router as an address with expressions (RFC 6570): `/rooms/:id` is `/rooms/{id}`, and a wildcard is `{wildcard}`. Patterns
 * of parameters are left out, and `::` is a colon.
 */
function addressOf (path: string): { readonly address: string, readonly names: string[] } {
  const names: string[] = []
  const add = (name: string): string => {
    names.push(name)
    return `{${name}}`
  }
  const address = path.replace(/::|:(\w+)(?:\((?:\\.|[^()\\]|\((?:\\.|[^()\\])*\))*\))?\??|\*/g, (part, name?: string) => part === '::' ? ':' : add(name ?? 'wildcard'))
  return { address, names }
}

/** A name for a channel that a `$ref` can have as it is. */
function idOf (path: string): string {
  return path.split(/[^\w-]+/).filter((part) => part !== '').join('.') || 'root'
}

/** A name that is not in use. Nor is it one that each object has, such as `constructor`. */
function freeId (taken: object, id: string): string {
  let free = id
  for (let i = 2; free in taken; i++) free = `${id}-${i}`
  return free
}

/** The name of a scheme in the document: one that is there already, if it is the same. */
function addScheme (schemes: Record<string, SecurityScheme>, name: string, scheme: SecurityScheme): string {
  const same = Object.entries(schemes).find(([, each]) => JSON.stringify(each) === JSON.stringify(scheme))
  const id = same?.[0] ?? freeId(schemes, name)
  schemes[id] = scheme
  return id
}

/** AsyncAPI knows headers, queries and cookies. Of the other places, the description says where they are. */
function schemesOf ({ header, subprotocol, query, cookie, param, message, ticket }: InspectedSources): Record<string, SecurityScheme> {
  const inHttp = (place: string, name: string, description: string): SecurityScheme => ({ type: 'httpApiKey', in: place, name, description })
  const elsewhere = (description: string): SecurityScheme => ({ type: 'apiKey', in: 'password', description })
  return {
    ...(header !== undefined && { header: header.bearer ? { type: 'http', scheme: 'bearer' } : inHttp('header', header.name, 'The value is the token.') }),
    ...(subprotocol !== undefined && { subprotocol: inHttp('header', 'Sec-WebSocket-Protocol', `The token follows ${subprotocol}, as in "${subprotocol}, <token>".`) }),
    ...(query !== undefined && { query: inHttp('query', query, 'The value is the token.') }),
    ...(cookie !== undefined && { cookie: inHttp('cookie', cookie.name, cookie.signed ? 'The value is the token, signed.' : 'The value is the token.') }),
    ...(param !== undefined && { param: elsewhere(`The token is the parameter ${param} of the path.`) }),
    ...(message !== undefined && { message: elsewhere(message.frames ? 'The first message is {"type":"auth","token":"<token>"}.' : 'The first message has the token.') }),
    ...(ticket !== undefined && { ticket: inHttp('query', ticket.query, ticket.require ? 'A ticket, which is good once. A token is needed too.' : 'A ticket, which is good once.') })
  }
}
