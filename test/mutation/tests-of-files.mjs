/*
 * Which files of lib are mutated, and which tests are asked about each. Of these only the quick ones are run, and only those that
 * reach the changed expression. The further in front, the more likely a test fails first.
 */
export const FILES = {
  'lib/match.ts': ['match', 'revocations'],
  'lib/revocations.ts': ['revocations', 'revocation-set'],
  'lib/claims.ts': ['claims', 'revocations'],
  'lib/origin.ts': ['origin'],
  'lib/tickets.ts': ['ticket-use'],
  'lib/authentication.ts': ['authentication', 'revocation'],
  'lib/credentials.ts': ['taken-credentials', 'credentials'],
  'lib/token-verifier.ts': ['verifier-errors'],
  'lib/jwt-verifier.ts': ['jwt-verifier'],
  'lib/jwt-secret.ts': ['jwt-settings'],
  'lib/token-view.ts': ['jwt-settings'],
  'lib/handshake.ts': ['handshake-steps'],
  'lib/gate.ts': ['handshake', 'refusals', 'upgrade', 'plain-requests', 'request-user', 'tickets', 'every-route', 'what-waits', 'http2'],
  'lib/routes.ts': ['declared-routes'],
}

/** Tests that count what others of their file have done: they cannot be run alone. */
export const LAST = []

/** Above this a test is not run against mutants, in milliseconds: what it finds, a quick test of the same has to find. */
export const SLOW = 2000
