/*
 * Which files of lib are mutated, and which tests are asked about each. Of these only the quick ones are run, and only those that
 * reach the changed expression. The further in front, the more likely a test fails first.
 */
export const FILES = {
  'lib/revocation/command-arguments.ts': ['revocation/command-arguments', 'backplane/revocation-list'],
  'lib/backplane/revocation-list.ts': ['backplane/revocation-list', 'backplane/value-filter'],
  'lib/token/claims.ts': ['token/claims', 'backplane/revocation-list'],
  'lib/handshake/origin.ts': ['handshake/origin', 'handshake/handshake-steps'],
  'lib/handshake/checks.ts': ['handshake/handshake-steps'],
  'lib/authentication/tickets.ts': ['authentication/ticket-use'],
  'lib/authentication/ticket-binding.ts': ['authentication/ticket-use'],
  'lib/authentication/authentication.ts': ['authentication/authentication', 'revocation/revocation', 'revocation/revocation-underway'],
  'lib/authentication/checks.ts': ['authentication/authentication', 'revocation/revocation', 'revocation/revocation-underway'],
  'lib/authentication/authorization.ts': ['authentication/authentication'],
  'lib/credentials/take.ts': ['credentials/taken-credentials', 'credentials/credentials'],
  'lib/credentials/url.ts': ['credentials/taken-credentials', 'credentials/credentials'],
  'lib/credentials/subprotocol.ts': ['credentials/taken-credentials', 'credentials/credentials'],
  'lib/credentials/headers.ts': ['credentials/taken-credentials', 'credentials/credentials'],
  'lib/credentials/set-header.ts': ['credentials/taken-credentials', 'credentials/credentials'],
  'lib/credentials/choose.ts': ['credentials/taken-credentials', 'credentials/credentials'],
  'lib/credentials/known-names.ts': ['credentials/known-names', 'credentials/taken-credentials'],
  'lib/token/verifier.ts': ['token/verifier-errors'],
  'lib/token/verifier-errors.ts': ['token/verifier-errors'],
  'lib/token/custom-verifier.ts': ['token/verifier-errors'],
  'lib/token/jwt-verifier.ts': ['token/jwt-verifier'],
  'lib/token/fastify-jwt.ts': ['token/jwt-verifier'],
  'lib/token/jwt-answer.ts': ['token/jwt-verifier'],
  'lib/token/jwt-secret.ts': ['token/jwt-settings'],
  'lib/token/token-view.ts': ['token/jwt-settings'],
  'lib/handshake/handshake.ts': ['handshake/handshake-steps'],
  'lib/handshake/pre-validation.ts': ['handshake/handshake', 'handshake/refusals', 'handshake/upgrade-requests', 'handshake/upgrade-routes', 'handshake/upgrade-tokens', 'handshake/upgrade-refusals', 'handshake/upgrade-leaving', 'handshake/upgrade-deadline', 'handshake/plain-requests', 'authentication/identity', 'authentication/tickets-spend', 'authentication/tickets-require', 'authentication/tickets-claims', 'authentication/tickets-route', 'authentication/tickets-issue', 'authentication/tickets-trace', 'handshake/every-route', 'handshake/what-waits', 'handshake/http2'],
  'lib/handshake/dry-run.ts': ['handshake/plain-requests', 'handshake/answered-early', 'handshake/http2'],
  'lib/handshake/routes.ts': ['handshake/declared-routes'],
}

/** Tests that count what others of their file have done: they cannot be run alone. */
export const LAST = []

/** Above this a test is not run against mutants, in milliseconds: what it finds, a quick test of the same has to find. */
export const SLOW = 2000
