/*
 * Issuers of tokens: each has an endpoint for its keys, a real HTTP server on the loopback interface whose answers a test changes.
 */
import { createHmac, createSign, generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'

export type Jwk = Record<string, unknown>

/** A pair of RSA keys, its public half as a member of a set, and tokens that it signs. */
export class SigningKey {
  readonly jwk: Jwk
  readonly #privateKey: KeyObject

  constructor (kid: string) {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    this.jwk = { ...publicKey.export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' }
    this.#privateKey = privateKey
  }

  /** A token. `undefined` in the header leaves a member out. The payload may be anything. */
  sign (payload: unknown, header: Record<string, unknown> = {}): string {
    return this.signText(JSON.stringify({ alg: 'RS256', kid: this.jwk.kid, ...header }), payload)
  }

  /** A token whose header is this text. */
  signText (header: string, payload: unknown): string {
    const input = `${encoded(header)}.${encoded(JSON.stringify(payload))}`
    return `${input}.${createSign('RSA-SHA256').update(input).sign(this.#privateKey, 'base64url')}`
  }

  /** A token that a client signs with the published key as if it were a secret. */
  signWithPublic (payload: unknown): string {
    const input = [{ alg: 'HS256', kid: this.jwk.kid }, payload].map((part) => encoded(JSON.stringify(part))).join('.')
    return `${input}.${createHmac('sha256', JSON.stringify(this.jwk)).update(input).digest('base64url')}`
  }
}

function encoded (text: string): string {
  return Buffer.from(text).toString('base64url')
}

export interface Issuer {
  /** Its name in tokens: the address of its server, with a slash at the end. */
  readonly name: string
  readonly jwksUri: string
  /** The paths that were asked for. */
  readonly asked: string[]
  /** What the set has. */
  keys: Jwk[]
  /** How it answers; `null` for the set. */
  answer: RequestListener | null
  /** Refuses connections until it is started again, at the same port. */
  stop (): Promise<void>
  start (): Promise<void>
}

export async function startIssuer (t: { teardown (end: () => Promise<void>): void }, ...keys: Jwk[]): Promise<Issuer> {
  const server = createServer((request, response) => {
    issuer.asked.push(request.url ?? '')
    if (issuer.answer !== null) issuer.answer(request, response)
    else response.setHeader('content-type', 'application/json').end(JSON.stringify({ keys: issuer.keys }))
  })
  let port = 0
  const start = async (): Promise<void> => {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
  }
  const stop = async (): Promise<void> => {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }
  await start()
  t.teardown(stop)
  const name = `http://127.0.0.1:${port}/`
  const issuer: Issuer = { name, jwksUri: `${name}.well-known/jwks.json`, asked: [], keys, answer: null, stop, start }
  return issuer
}
