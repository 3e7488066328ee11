/*
 * What a reviewer would ask about. Each warning has a name that stays, and one sentence of what to do.
 */
import type { AppFacts, RouteFacts } from './facts'

/** A longer grace is hardly for a renewal that is on its way. In milliseconds. */
const LONG_GRACE = 60_000
/** The `maxPayload` of ws, in bytes. */
const DEFAULT_PAYLOAD = 100 * 1024 * 1024

interface Warning<Facts extends unknown[]> {
  readonly advice: string
  readonly isTrue: (...facts: Facts) => boolean
}

/** The warnings about a route that needs or takes a token. */
const ABOUT_GUARDED_ROUTES = {
  token_in_query: {
    advice: 'A token in a URL is kept by the logs of proxies: set token.query to false, and let pages use the subprotocol or a ticket.',
    isTrue: ({ options }) => options.token.query !== null
  },
  plain_transport: {
    advice: 'A token may come over plain ws://, where the network can read it: set requireTls, and trustProxy of Fastify if a proxy ends TLS.',
    isTrue: ({ options }) => !options.requireTls
  },
  cookie_any_origin: {
    advice: 'A page of any site can connect with the cookies of a user: list the origins, or set token.cookie to false.',
    isTrue: ({ options }) => options.token.cookie != null && options.origin === 'any'
  },
  no_audience: {
    advice: 'A token that was issued for another service is good here: set verify.allowedAud of @fastify/jwt, or require aud in claims.',
    isTrue: ({ tokens, options }) => tokens.isJwt && tokens.audiences === null && !requiresAudience(options.claims)
  },
  no_algorithms: {
    advice: 'The key alone says which algorithms are good, and it is not a fixed one: list verify.algorithms of @fastify/jwt.',
    isTrue: ({ tokens }) => tokens.isJwt && tokens.algorithms === null && !tokens.hasStaticKey
  },
  weak_key: {
    advice: 'The key can be guessed: use a secret as long as its hash, or an RSA key of 2048 bits or more.',
    isTrue: ({ tokens }) => tokens.hasWeakKey
  },
  ignores_expiry: {
    advice: 'An expired token is good: set verify.ignoreExpiration of @fastify/jwt to false.',
    isTrue: ({ tokens }) => !tokens.checksExpiry
  },
  shared_subjects: {
    advice: 'Two issuers may give one sub to two users: let subject put the issuer in front of it.',
    isTrue: ({ tokens, options }) => (tokens.issuers?.length ?? 0) > 1 && options.subject === undefined
  },
  cached_decisions: {
    advice: 'A function decides about tokens, and is not asked again while a token is in the cache: set tokenCache to false if its answer depends on the request or on time.',
    isTrue: ({ tokens }, { options }) => options.tokenCache !== null && tokens.asksApp
  },
  endless_lifetime: {
    advice: 'A connection may live for ever, with the roles that the user once had: set maxLifetime.',
    isTrue: ({ options }) => options.maxLifetime === Infinity
  },
  long_expiry_grace: {
    advice: 'A connection outlives its token by more than a minute: set expiryGrace to what a renewal takes.',
    isTrue: ({ options }) => options.expiryGrace > LONG_GRACE
  },
  no_message_limit: {
    advice: 'One client can send as many messages as the network carries: set limits.messages or limits.bytes.',
    isTrue: ({ options }) => isOff(options, 'messages') && isOff(options, 'bytes')
  }
} as const satisfies Record<string, Warning<[RouteFacts, AppFacts]>>

const ABOUT_PUBLIC_ROUTES = {
  public_route: {
    advice: 'Any client may connect, without a token and from any page: leave wsAuth out if it should not.',
    isTrue: () => true
  }
} as const satisfies Record<string, Warning<[RouteFacts, AppFacts]>>

const ABOUT_APPS = {
  no_heartbeat: {
    advice: 'A client that lost its power or network counts as open until its token expires: set heartbeat.',
    isTrue: ({ options }) => options.heartbeat === null
  },
  no_user_limit: {
    advice: 'One user can open any number of connections: set limits.perUser.',
    isTrue: ({ options }) => options.limits.perUser === Infinity
  },
  large_messages: {
    advice: 'One message may take 100 MiB of memory or more: set websocket.options.maxPayload.',
    isTrue: ({ options }) => !((options.websocket.options?.maxPayload || Infinity) < DEFAULT_PAYLOAD)
  },
  memory_backplane: {
    advice: 'Revocations end with the process, and other processes do not know them: use redisBackplane if there are two, or if tokens outlive a restart.',
    isTrue: ({ hasMemoryBackplane }) => hasMemoryBackplane
  },
  no_drain: {
    advice: 'A deploy closes all connections at once, and all come back at once: set drain.',
    isTrue: ({ options }) => isOff(options, 'drain', options)
  }
} as const satisfies Record<string, Warning<[AppFacts]>>

/** The name of a warning. */
export type WarningName = keyof typeof ABOUT_GUARDED_ROUTES | keyof typeof ABOUT_PUBLIC_ROUTES | keyof typeof ABOUT_APPS

/** Each warning, with its sentence. */
export const WARNINGS = Object.freeze(Object.fromEntries(Object.entries({ ...ABOUT_GUARDED_ROUTES, ...ABOUT_PUBLIC_ROUTES, ...ABOUT_APPS })
  .map(([name, { advice }]) => [name, advice]))) as Readonly<Record<WarningName, string>>

/** The names of the warnings about a route. */
export function warningsOfRoute (route: RouteFacts, app: AppFacts): WarningName[] {
  return namesOf(route.options.access === 'public' ? ABOUT_PUBLIC_ROUTES : ABOUT_GUARDED_ROUTES, route, app)
}

/** The names of the warnings about the app. */
export function warningsOfApp (app: AppFacts): WarningName[] {
  return namesOf(ABOUT_APPS, app)
}

function namesOf<Facts extends unknown[]> (table: Readonly<Record<string, Warning<Facts>>>, ...facts: Facts): WarningName[] {
  return Object.entries(table).filter(([, { isTrue }]) => isTrue(...facts)).map(([name]) => name as WarningName)
}

/** Whether a schema of claims lets only some audiences through. */
function requiresAudience (claims: object | undefined): boolean {
  const { required, properties } = (claims ?? {}) as { required?: unknown, properties?: Record<string, unknown> }
  return Array.isArray(required) && required.includes('aud') && properties?.aud !== undefined
}

/** Whether a limit of a route, or an option, exists and is off. */
function isOff (options: object, name: string, values = (options as { limits?: object }).limits ?? {}): boolean {
  const value = (values as Record<string, unknown>)[name]
  return value === null || value === false
}
