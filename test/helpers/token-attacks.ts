/*
 * The attack table of tokens: rows of what is sent over the wire in place of a token, and what is answered, told and counted
 * for it. Each row is one attack, on each server on which it might succeed.
 */
import type { Test } from 'tap'
import type { WsAuthOptions } from '../../lib/options/public-options'
import { SECRET } from './app'
import { HostileTarget } from './hostile-target'
import type { Answer } from './hostile-target'
import { carriers, compact, ecdsa, eddsa, hmac, rsa } from './hostile-tokens'
import type { Carrier, Signer } from './hostile-tokens'
import { keys } from './keys'

/** Each row that was tried. */
export const tried: string[] = []

export type Row = readonly [what: string, token: string, answer: Answer, carrier?: Carrier]

/** Tries rows on one or more servers, which differ in nothing that the answers depend on. */
export function tryRows (t: Test, targets: Record<string, HostileTarget>, rows: readonly Row[]): void {
  for (const [what, token, answer, carrier = 'header'] of rows) {
    tried.push(`${t.name}: ${what}`)
    t.test(`${t.name}: ${what}`, async (t) => {
      for (const [name, target] of Object.entries(targets)) {
        await t.test(`${t.name}, with ${name}`, async (t) => { await target.answers(t, carriers[carrier](token), answer) })
      }
    })
  }
}

export const HS = { alg: 'HS256', typ: 'JWT' }
export const signed = hmac(SECRET)
export const unsigned: Signer = () => ''
/** A token with the right key: what is wrong with it stands in its claims or its header. */
export const mint = (claims: unknown, header: unknown = HS): string => compact(header, claims, signed)
export const ANN = { sub: 'ann', jti: 'a1' }
export const GOOD = mint(ANN)
export const [HEAD = '', BODY = '', SIGNATURE = ''] = GOOD.split('.')

export const privateKeys = { RS256: rsa(keys.RS256.private), ES256: ecdsa(keys.ES256.private), EdDSA: eddsa(keys.EdDSA.private) }
export type PublicAlgorithm = keyof typeof privateKeys

/** The servers that know the public key of an algorithm: the algorithm said or not, the key there or asked for. */
export async function publicTargets (t: Test, algorithm: PublicAlgorithm): Promise<Record<string, HostileTarget>> {
  const { public: key, private: own } = keys[algorithm]
  const named = { algorithms: [algorithm] }
  const pair = { public: key, private: own }
  return {
    'its algorithm named': await HostileTarget.start(t, { plugin: { jwt: { secret: pair, sign: { algorithm }, verify: named } } }),
    'its algorithm not named': await HostileTarget.start(t, { plugin: { jwt: { secret: pair, sign: { algorithm } } } }),
    'its key asked for': await HostileTarget.start(t, { plugin: { jwt: { secret: async () => key, verify: named } } }),
    'its key asked for, its algorithm not named': await HostileTarget.start(t, { plugin: { jwt: { secret: async () => key } } })
  }
}

/** Servers with a secret: there, and asked for. */
export async function secretTargets (t: Test, plugin: WsAuthOptions = {}): Promise<Record<string, HostileTarget>> {
  return {
    'a secret': await HostileTarget.start(t, { plugin }),
    'a secret asked for': await HostileTarget.start(t, { plugin: { jwt: { secret: async () => SECRET }, ...plugin } }),
    'a secret, behind a cache': await HostileTarget.start(t, { plugin: { tokenCache: { max: 100, ttl: 60_000 }, ...plugin } })
  }
}
