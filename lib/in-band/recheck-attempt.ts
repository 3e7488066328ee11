/*
 * The new claims that the `check` of the option `recheck` returned for a connection: they are checked as those of a renewal, and admitted
 * to the route again.
 */
import { Authentication } from '../authentication/authentication'
import type { AuthenticationContext } from '../authentication/authentication'
import { authorize } from '../authentication/authorization'
import { checkClaims, readSubject, USER_STEPS } from '../authentication/checks'
import { runSteps } from '../authentication/steps'
import type { Step } from '../authentication/steps'
import { WsAuthError } from '../base/errors'
import type { OpenConnection } from '../connection/open-connection'
import type { CompleteRouteOptions } from '../options/complete-options'
import { assertClaims } from '../token/claims'
import type { Claims } from '../token/claims'
import { copyData, frozenCopy } from '../token/frozen-data'

/** New claims for a connection. */
export class RecheckAttempt extends Authentication {
  readonly connection: OpenConnection
  readonly answer: object

  constructor (connection: OpenConnection, route: CompleteRouteOptions, answer: object) {
    super(connection.kept.forChecks, route, null)
    this.connection = connection
    this.answer = answer
  }
}

const STEPS: ReadonlyArray<Step<RecheckAttempt, AuthenticationContext>> = [readAnswer, checkClaims, readSubject, checkSameUser, ...USER_STEPS, authorize]

/** Checks the new claims. Resolves to the refusal, or `null`. */
export async function runRecheck (attempt: RecheckAttempt, context: AuthenticationContext): Promise<WsAuthError | null> {
  return await runSteps(attempt, context, STEPS)
}

function readAnswer (attempt: RecheckAttempt, { checks, options }: AuthenticationContext): void {
  const { rules } = checks.of(attempt.route).verifier
  const claims = frozenCopy({ ...attempt.answer } as Claims)
  assertClaims(claims, rules, Date.now())
  const formatUser = checks.hasOwnVerifier(attempt.route) ? undefined : options.jwt?.formatUser
  attempt.become({ claims, user: formatUser === undefined ? claims : frozenCopy(formatUser(copyData(claims) as never)) }, rules, attempt.connection.kid)
}

/** The age of the claims does not count, unlike that of a token: they come from the app, and not from the client. */
function checkSameUser ({ connection, claims, sub }: RecheckAttempt): void {
  if (sub !== connection.sub) throw invalid('check returned the claims of another subject')
  if (claims?.iss !== connection.claims?.iss) throw invalid('check returned the claims of another iss')
}

function invalid (cause: string): WsAuthError {
  return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause })
}
