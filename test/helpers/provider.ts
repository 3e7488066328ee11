/*
 * A real OpenID provider on a port of its own: people log in with the authorization code flow (PKCE), get access tokens that
 * are JWTs, and log out, whereupon it posts logout tokens. Nobody is asked for a password: the login_hint is who comes.
 */
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

/** Of the access tokens; whoever is not a client. */
export const AUDIENCE = 'chat'
const CALLBACK = 'http://127.0.0.1/callback'

export type ProviderAlgorithm = 'RS256' | 'ES256'
/** How an access token is made: a JWT of an algorithm, or a text that means nothing. */
export type ProviderFormat = ProviderAlgorithm | 'opaque'

/** A client that asks about tokens (RFC 7662), and logs nobody in. */
export const RESOURCE_SERVER = { id: 'chat-api', secret: 'a secret of the resource server' }

export interface ProviderClient {
  readonly id: string
  /** Where logout tokens are posted. */
  readonly logoutUri: string
  /** That of its ID tokens and logout tokens. Default RS256. */
  readonly algorithm?: ProviderAlgorithm
  /** Whether it wants a `sid` in them. Default true. */
  readonly wantsSid?: boolean
  /** Whether its access tokens have it. Default true. */
  readonly hasSid?: boolean
}

/** Somebody at the provider, with a browser of their own. */
export interface Login {
  readonly accessToken: string
  readonly idToken: string
  readonly claims: Record<string, unknown>
  /** Gets the tokens of another login at the same provider by the same browser: for another client, without being asked. */
  enter: (client: string, algorithm?: ProviderFormat) => Promise<Login>
  /** RFC 7009. The access token is no longer active. */
  revoke: () => Promise<void>
  /** RP-Initiated Logout 1.0. Resolves when the provider has told all its clients. */
  logOut: () => Promise<void>
}

export interface OpenIdProvider {
  readonly issuer: string
  readonly jwksUri: string
  /** What became of each logout token: `success`, or why not. */
  readonly outcomes: string[]
  /** To be called once, when it is known where the clients are. */
  open: (clients: readonly ProviderClient[]) => Promise<void>
  logIn: (sub: string, client: string, algorithm?: ProviderFormat) => Promise<Login>
}

/** What is used of oidc-provider, which brings no types along. */
interface Provider {
  callback: () => RequestListener
  interactionDetails: (request: IncomingMessage, response: ServerResponse) => Promise<{ params: Record<string, string> }>
  interactionFinished: (request: IncomingMessage, response: ServerResponse, result: unknown) => Promise<void>
  on: (event: 'backchannel.success' | 'backchannel.error', listener: (ctx: unknown, error: unknown) => void) => unknown
}

interface ProviderContext {
  oidc: {
    provider: { Grant: new (of: { clientId: string, accountId: string }) => Grant }
    client: { clientId: string }
    session: { accountId: string }
    entities: { AuthorizationCode?: { sid?: string } }
  }
}

interface Grant {
  addOIDCScope: (scope: string) => void
  addResourceScope: (resource: string, scope: string) => void
  save: () => Promise<string>
}

/** A provider that listens, and answers once it was opened. It is closed when the test ends. */
export async function startProvider (t: Test): Promise<OpenIdProvider> {
  let answer: RequestListener = (_request, response) => { response.writeHead(503).end() }
  const server = createServer((request, response) => answer(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close(); server.closeAllConnections() })
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const outcomes: string[] = []
  return {
    issuer,
    jwksUri: `${issuer}/jwks`,
    outcomes,
    open: async (clients) => {
      const provider = await createProvider(issuer, clients)
      provider.on('backchannel.success', () => { outcomes.push('success') })
      provider.on('backchannel.error', (_ctx, error) => { outcomes.push(String(error)) })
      answer = answerOf(provider)
    },
    logIn: async (sub, client, algorithm = 'RS256') => await new Browser(issuer).enter(sub, client, algorithm)
  }
}

async function createProvider (issuer: string, clients: readonly ProviderClient[]): Promise<Provider> {
  // By a name that the compiler does not look up: there are no types.
  const name: string = 'oidc-provider'
  const { Provider } = await import(name) as { Provider: new (issuer: string, configuration: unknown) => Provider }
  const hasSid = new Set(clients.filter(({ hasSid }) => hasSid !== false).map(({ id }) => id))
  return new Provider(issuer, {
    clients: [{
      client_id: RESOURCE_SERVER.id,
      client_secret: RESOURCE_SERVER.secret,
      redirect_uris: [],
      response_types: [],
      grant_types: []
    }, ...clients.map(({ id, logoutUri, algorithm = 'RS256', wantsSid = true }) => ({
      client_id: id,
      redirect_uris: [CALLBACK],
      token_endpoint_auth_method: 'none',
      id_token_signed_response_alg: algorithm,
      backchannel_logout_uri: logoutUri,
      backchannel_logout_session_required: wantsSid
    }))],
    jwks: { keys: [jwk('RS256'), jwk('ES256')] },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    interactions: { url: (_ctx: unknown, { uid }: { uid: string }) => `/login/${uid}` },
    findAccount: (_ctx: unknown, accountId: string) => ({ accountId, claims: () => ({ sub: accountId }) }),
    loadExistingGrant: async ({ oidc: { provider, client, session } }: ProviderContext) => {
      const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId })
      grant.addOIDCScope('openid')
      for (const algorithm of ['RS256', 'ES256', 'opaque'] as const) grant.addResourceScope(resourceOf(algorithm), 'chat')
      await grant.save()
      return grant
    },
    extraTokenClaims: ({ oidc: { client, entities } }: ProviderContext) => hasSid.has(client.clientId) ? { sid: entities.AuthorizationCode?.sid } : undefined,
    // It protects itself from clients on the loopback interface, where ours are, and from those that take 2.5 s, as busy machines do.
    fetch: async (url: string, { dispatcher: _, signal: __, ...options }: RequestInit & { dispatcher?: unknown }) => await fetch(url, options),
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      rpInitiatedLogout: { enabled: true, logoutSource: (ctx: { body: string }, form: string) => { ctx.body = form } },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx: unknown, resource: string) => ({
          scope: 'chat', audience: AUDIENCE, ...resource === resourceOf('opaque') ? { accessTokenFormat: 'opaque' } : { accessTokenFormat: 'jwt', jwt: { sign: { alg: resource.split(':').at(-1) } } }
        })
      }
    }
  })
}

function jwk (alg: ProviderAlgorithm): Record<string, unknown> {
  const { privateKey } = alg === 'RS256' ? generateKeyPairSync('rsa', { modulusLength: 2048 }) : generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `${alg} of ${randomBytes(4).toString('hex')}` }
}

function resourceOf (algorithm: ProviderFormat): string {
  return `urn:chat:${algorithm}`
}

/** The provider, and its page for logins: whoever is hinted at. */
function answerOf (provider: Provider): RequestListener {
  const answer = provider.callback()
  return (request, response) => {
    if (request.url?.startsWith('/login/') !== true) return answer(request, response)
    void (async () => {
      const { params } = await provider.interactionDetails(request, response)
      await provider.interactionFinished(request, response, { login: { accountId: params.login_hint } })
    })().catch((error: unknown) => { response.writeHead(500).end(String(error)) })
  }
}

/** Keeps cookies and follows redirects, as far as the provider's pages need it. */
class Browser {
  readonly #issuer: string
  readonly #cookies = new Map<string, string>()

  constructor (issuer: string) {
    this.#issuer = issuer
  }

  /** The authorization code flow. */
  async enter (sub: string, client: string, algorithm: ProviderFormat): Promise<Login> {
    const verifier = randomBytes(32).toString('base64url')
    const query = new URLSearchParams({
      client_id: client,
      response_type: 'code',
      scope: 'openid chat',
      redirect_uri: CALLBACK,
      login_hint: sub,
      resource: resourceOf(algorithm),
      code_challenge: createHash('sha256').update(verifier).digest('base64url'),
      code_challenge_method: 'S256'
    })
    const code = (await this.#follow(`/auth?${query.toString()}`)).searchParams.get('code')
    if (code === null) throw new Error('the provider gave no code')
    const form = new URLSearchParams({ grant_type: 'authorization_code', client_id: client, code, redirect_uri: CALLBACK, code_verifier: verifier })
    const tokens = await (await this.#request('/token', form)).json() as { access_token: string, id_token: string }
    const payload = algorithm === 'opaque' ? '' : tokens.access_token.split('.')[1] ?? ''
    return {
      accessToken: tokens.access_token,
      idToken: tokens.id_token,
      claims: payload === '' ? {} : JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>,
      enter: async (client, algorithm = 'RS256') => await this.enter(sub, client, algorithm),
      revoke: async () => {
        const { status } = await this.#request('/token/revocation', new URLSearchParams({ token: tokens.access_token, client_id: client }))
        if (status !== 200) throw new Error(`the provider answered ${status}`)
      },
      logOut: async () => await this.#logOut()
    }
  }

  async #logOut (): Promise<void> {
    const page = await (await this.#request('/session/end')).text()
    const xsrf = /name="xsrf" value="([^"]+)"/.exec(page)?.[1]
    if (xsrf === undefined) throw new Error(`the provider asked nothing: ${page}`)
    const { status } = await this.#request('/session/end/confirm', new URLSearchParams({ xsrf, logout: 'yes' }))
    if (status !== 303) throw new Error(`the provider answered ${status}`)
  }

  /** @returns where the client is called back */
  async #follow (path: string): Promise<URL> {
    let url = new URL(path, this.#issuer)
    while (url.origin === this.#issuer) {
      const response = await this.#request(url.pathname + url.search)
      const next = response.headers.get('location')
      if (next === null) throw new Error(`${url.pathname} answered ${response.status}: ${await response.text()}`)
      url = new URL(next, url)
    }
    return url
  }

  async #request (path: string, body?: URLSearchParams): Promise<Response> {
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(new URL(path, this.#issuer), { method: body === undefined ? 'GET' : 'POST', body, headers: { cookie }, redirect: 'manual' })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (value === '') this.#cookies.delete(name)
      else this.#cookies.set(name, value)
    }
    return response
  }
}
