/*
 * Why a handshake failed: browsers hide it, so that the client asks by HTTP.
 */
import { httpOf, request } from './request'
import type { Scope } from './runtime'
import type { Settings } from './settings'
import { actionOf } from './verdict'
import type { Outcome } from './verdict'

/** Asks why the handshake of an address failed. It spends nothing. */
export async function explain (settings: Settings, scope: Scope, url: string, token: string | null): Promise<Outcome> {
  const end = { code: 1006, reason: '', wasOpen: false }
  const { fetch, answerTimeout } = settings
  if (fetch === null) return { end, action: 'retry' }
  try {
    const { status, word: reason, least } = await scope.within(answerTimeout, 'the dry run', async (signal) => await request(fetch, 'GET', httpOf(url), token, signal))
    const told = { ...end, reason, status, ...(reason === '' ? { hint: hintOf(status) } : {}) }
    return { end: told, least, action: reason === '' ? 'retry' : actionOf(told) }
  } catch (error) {
    return { end: { ...end, error, hint: 'a dry run had no answer either: no network, no server, or no CORS for this page' }, action: 'retry' }
  }
}

function hintOf (status: number): string {
  if (status === 426) return 'a dry run was accepted: the network failed, a proxy does not pass upgrades, or the page may not connect to this address'
  if (status < 400) return `a dry run was answered with ${status}: the address is not that of a websocket route`
  return `a dry run was answered with ${status}, not by fastify-ws-auth`
}
