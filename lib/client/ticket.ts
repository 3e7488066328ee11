/*
 * Tickets: each is asked for when a handshake or a renewal needs it, and never kept.
 */
import { httpOf, request } from './request'
import type { Scope } from './runtime'
import type { Settings } from './settings'
import type { CredentialRequest, FetchLike, WsAuthErrorCode } from './types'
import { readCredential } from './wallet'
import { actionOf } from './verdict'
import type { Outcome } from './verdict'

/** The path of the server, unless the app gives another. */
const PATH = '/ws-ticket'

/** Gets a ticket, for a token or for the cookies of the page. @returns the end of the attempt if the server refuses. @throws the error of the function or of `fetch` */
export async function getTicket (settings: Settings, scope: Scope, url: string, token: string | null, why: CredentialRequest['why']): Promise<string | Outcome> {
  const { ticket = PATH, wallet, credentialTimeout, fetch } = settings
  return await scope.within(credentialTimeout, 'the ticket', async (signal) => {
    if (typeof ticket === 'function') {
      const code = why === 'rejected' ? `WS_AUTH_${wallet.refused?.word.toUpperCase()}` as WsAuthErrorCode : null
      return readCredential(await ticket({ why, code, signal }))?.token ?? noUser()
    }
    const answer = await request(fetch as FetchLike, 'POST', httpOf(url, ticket === true ? PATH : ticket), token, signal)
    if (typeof answer.ticket === 'string') return answer.ticket
    const { status, word: reason, least } = answer
    const end = { code: 1006, reason, wasOpen: false, status, hint: `the request for a ticket was answered with ${status}` }
    return { end, least, action: reason === '' ? 'retry' : actionOf(end) }
  })
}

/** No user is logged in. @param reason the word of the refusal before */
export function noUser (reason = 'token_missing'): Outcome {
  return { end: { code: 1006, reason, wasOpen: false, hint: 'there is no credential' }, action: 'refuse' }
}
