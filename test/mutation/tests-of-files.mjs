/*
 * Which files of lib are mutated, and which tests are asked about each. Of these only the quick ones are run, and only those that
 * reach the changed expression. The further in front, the more likely a test fails first.
 */
export const FILES = {
  'lib/match.ts': ['revocations', 'disconnect'],
  'lib/revocations.ts': ['revocations', 'properties-revocations', 'revocation'],
  'lib/claims.ts': ['properties-tokens', 'hostile-tokens', 'token-verifier', 'revocations'],
  'lib/origin.ts': ['properties-origin', 'handshake', 'hostile-handshakes'],
  'lib/tickets.ts': ['tickets', 'errors', 'layers'],
  'lib/authentication.ts': ['handshake', 'token-verifier', 'options', 'tickets', 'renewal', 'first-message', 'revocation', 'hostile-tokens'],
  'lib/credentials.ts': ['credentials', 'properties-credentials', 'hostile-handshakes', 'handshake', 'tickets', 'upgrade', 'no-trace'],
  'lib/token-verifier.ts': ['token-verifier', 'properties-tokens', 'hostile-tokens', 'token-cache', 'one-verifier', 'standards', 'renewal', 'options'],
  'lib/handshake.ts': ['handshake', 'hostile-handshakes', 'tickets', 'limits', 'properties-origin', 'first-message'],
  'lib/gate.ts': ['handshake', 'upgrade', 'refusals', 'tickets', 'limits', 'first-message', 'audit', 'hostile-handshakes'],
  'lib/routes.ts': ['handshake', 'options', 'refusals', 'credentials', 'upgrade', 'tickets']
}

/** Tests that count what others of their file have done: they cannot be run alone. */
export const LAST = ['hostile-handshakes: the table has all of its rows, each once', 'hostile-tokens: the table has all of its rows, each once']

/** Above this a test is not run against mutants, in milliseconds: what it finds, a quick test of the same has to find. */
export const SLOW = 3000
