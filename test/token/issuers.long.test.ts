/*
 * Access tokens as well-known issuers make them (the claims are those of their documents), read by the options that the table in
 * lib/README.md gives for each.
 */
import t from 'tap'
import fastifyWsAuth from '../../lib/index'
import type { Claims, Connection } from '../../lib/index'
import { prepare, sign } from '../helpers/app'
import { readDocument, section, tableOf } from '../helpers/documents'
import { openSocket, statusOf } from '../helpers/sockets'

const now = Math.floor(Date.now() / 1000)
const times = { iat: now, exp: now + 3600 }

/** For each issuer: a token, and the roles, a scope, the subject and the groups that it means. */
const ISSUERS: Record<string, { claims: Claims, role?: string, scope?: string, sub: string, groups: string[] }> = {
  Auth0: {
    claims: {
      ...times,
      iss: 'https://example.eu.auth0.com/',
      sub: 'auth0|66f',
      aud: ['https://chat.example', 'https://example.eu.auth0.com/userinfo'],
      azp: 'client',
      scope: 'openid profile chat:write',
      permissions: ['chat:write'],
      org_id: 'org_9',
      'https://chat.example/roles': ['member']
    },
    role: 'member',
    scope: 'chat:write',
    sub: 'auth0|66f',
    groups: ['org_9']
  },
  Keycloak: {
    claims: {
      ...times,
      jti: '5c1',
      iss: 'https://sso.example/realms/main',
      aud: 'account',
      sub: '6f0c',
      typ: 'Bearer',
      azp: 'chat',
      sid: 'd41d',
      realm_access: { roles: ['offline_access', 'member'] },
      resource_access: { account: { roles: ['view-profile'] } },
      scope: 'openid email chat:write',
      groups: ['/acme']
    },
    role: 'member',
    scope: 'chat:write',
    sub: '6f0c',
    groups: ['/acme']
  },
  'Amazon Cognito': {
    claims: {
      ...times,
      sub: 'aaaa',
      'cognito:groups': ['member'],
      iss: 'https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_x',
      client_id: 'client',
      origin_jti: 'bbbb',
      event_id: 'cccc',
      token_use: 'access',
      scope: 'chat/write',
      auth_time: now,
      jti: 'dddd',
      username: 'ann'
    },
    role: 'member',
    scope: 'chat/write',
    sub: 'aaaa',
    groups: []
  },
  'Microsoft Entra ID': {
    claims: {
      ...times,
      nbf: now,
      aud: 'api',
      iss: 'https://login.microsoftonline.com/tenant/v2.0',
      azp: 'client',
      oid: 'object',
      roles: ['member'],
      scp: 'Chat.Read Chat.Write',
      sub: 'pairwise',
      tid: 'tenant',
      uti: 'uti',
      ver: '2.0'
    },
    role: 'member',
    scope: 'Chat.Write',
    sub: 'tenant.object',
    groups: ['tenant']
  },
  Okta: {
    claims: {
      ...times,
      ver: 1,
      jti: 'AT.x',
      iss: 'https://example.okta.com/oauth2/default',
      aud: 'api://default',
      cid: 'client',
      uid: '00u1',
      scp: ['openid', 'chat:write'],
      auth_time: now,
      sub: 'ann@example.com',
      groups: ['member']
    },
    role: 'member',
    scope: 'chat:write',
    sub: '00u1',
    groups: []
  },
  Firebase: {
    claims: {
      ...times,
      iss: 'https://securetoken.google.com/project',
      aud: 'project',
      auth_time: now,
      user_id: 'uid',
      sub: 'uid',
      email: 'ann@example.com',
      firebase: { identities: {}, sign_in_provider: 'password', tenant: 'acme' },
      roles: ['member']
    },
    role: 'member',
    sub: 'uid',
    groups: ['acme']
  },
  Supabase: {
    claims: {
      ...times,
      iss: 'https://ref.supabase.co/auth/v1',
      aud: 'authenticated',
      sub: '5b1d',
      email: 'ann@example.com',
      app_metadata: { provider: 'email', roles: ['member'] },
      user_metadata: { roles: ['admin'] },
      role: 'authenticated',
      aal: 'aal1',
      session_id: 's1',
      is_anonymous: false
    },
    role: 'member',
    sub: '5b1d',
    groups: []
  },
  Clerk: {
    claims: {
      ...times,
      nbf: now,
      azp: 'https://chat.example',
      iss: 'https://clerk.chat.example',
      sid: 'sess_1',
      sub: 'user_1',
      v: 2,
      fva: [5, -1],
      o: { id: 'org_1', rol: 'member', slg: 'acme', per: 'write' }
    },
    role: 'member',
    sub: 'user_1',
    groups: ['org_1']
  }
}

const OPTIONS = ['subject', 'roles', 'scopes', 'groups'] as const
const rows = tableOf(section(readDocument('lib/README.md'), '### Tokens of well-known issuers'))

t.test('the table of issuers in lib/README.md has each issuer', async (t) => {
  t.strictSame(rows.map(([issuer]) => issuer), Object.keys(ISSUERS))
})

/** The options of a row: an empty cell, or `default`, leaves one out. */
function optionsOf (cells: readonly string[]): fastifyWsAuth.WsAuthOptions {
  const given = OPTIONS.flatMap((option, i) => {
    const text = (cells[i] ?? '').replaceAll('`', '').replaceAll('\\|', '|')
    // eslint-disable-next-line no-new-func -- what the document shows is what is run
    return text === 'default' || text === '-' ? [] : [[option, new Function(`return (c) => ${text}`)()]]
  })
  return Object.fromEntries(given) as fastifyWsAuth.WsAuthOptions
}

for (const [issuer = '', ...cells] of rows) {
  t.test(`the options for ${issuer} find the subject, the roles, the scopes and the groups of its token`, async (t) => {
    const { claims, role, scope, sub, groups } = ISSUERS[issuer] as NonNullable<typeof ISSUERS[string]>
    const seen: Connection[] = []
    const { app } = await prepare(t, {
      plugin: optionsOf(cells),
      routes: (app) => {
        const policy = { ...(role === undefined ? {} : { roles: [role] }), ...(scope === undefined ? {} : { scopes: [scope] }) }
        app.get('/chat', { websocket: true, wsAuth: policy }, (_socket, request) => { seen.push(request.wsAuth as Connection) })
        app.get('/admin', { websocket: true, wsAuth: { roles: ['admin'] } }, () => {})
      }
    })
    await openSocket(app, '/chat', sign(claims))
    t.match(seen[0], { sub, groups })
    t.equal(await statusOf(app, '/admin', sign(claims)), 403)
    const { iat, exp, iss } = claims
    t.equal(await statusOf(app, '/chat', sign({ iat, exp, iss, sub: 'bob', tid: 'x', oid: 'y', uid: 'z' })), 403, 'a token without roles and groups is read too')
  })
}
