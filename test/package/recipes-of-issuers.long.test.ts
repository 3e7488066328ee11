/*
 * The recipes for published keys, each as a process of its own with two real endpoints for keys.
 */
import { once } from 'node:events'
import t from 'tap'
import { WebSocket } from 'ws'
import { buildPackage, startFile } from '../helpers/example'
import { SigningKey, startIssuer } from '../helpers/jwks-server'
import type { Issuer } from '../helpers/jwks-server'

t.before(buildPackage)

const [one, two] = [new SigningKey('one'), new SigningKey('two')]

function claimsOf ({ name }: Issuer, more: object = {}): object {
  return { sub: 'ann', aud: 'chat', iss: name, exp: Math.floor(Date.now() / 1000) + 600, ...more }
}

async function statusOf (url: string, token: string): Promise<number> {
  return (await fetch(`${url}/chat`, { headers: { authorization: `Bearer ${token}` } })).status
}

/** How often an issuer may be asked about 80 unknown kids of one address, and what such tokens are answered. */
const RECIPES: Record<string, { bound: number, answers: number[] }> = {
  'jwks-with-jose': { bound: 1, answers: [401] },
  'jwks-with-get-jwks': { bound: 60, answers: [401, 429] },
  'jwks-with-fastify-jwt-jwks': { bound: 60, answers: [401, 429] }
}

for (const [recipe, { bound, answers }] of Object.entries(RECIPES)) {
  t.test(`${recipe}: tokens of two issuers open a socket, others are refused, and an issuer that is down is 503`, async (t) => {
    const [first, second, stranger] = [await startIssuer(t, one.jwk), await startIssuer(t, two.jwk), await startIssuer(t, one.jwk)] as const
    const { url, output } = await startFile(t, `recipes/${recipe}.js`, { ISSUERS: `${first.name},${second.name}` })
    await second.stop()
    t.equal(await statusOf(url, two.sign(claimsOf(second))), 503)
    await second.start()

    for (const token of [one.sign(claimsOf(first)), two.sign(claimsOf(second))]) {
      const socket = new WebSocket(`${url.replace('http', 'ws')}/chat`, ['bearer', token])
      const [greeting] = await once(socket, 'message')
      t.equal(String(greeting), 'hello ann')
      socket.terminate()
    }
    t.equal(await statusOf(url, one.sign(claimsOf(second))), 401)
    t.equal(await statusOf(url, one.sign(claimsOf(stranger))), 401)
    t.equal(await statusOf(url, one.sign(claimsOf(first, { aud: 'other' }))), 401)
    t.equal(await statusOf(url, one.sign(claimsOf(first, { aud: undefined }))), 401)
    t.strictSame(stranger.asked, [])

    const before = first.asked.length
    const seen = new Set<number>()
    for (let i = 0; i < 80; i++) seen.add(await statusOf(url, one.sign(claimsOf(first), { kid: `unknown ${i}` })))
    t.strictSame([...seen], answers)
    t.ok(first.asked.length - before <= bound, `asked ${first.asked.length - before} times`)
    t.equal(output().match(/"level":50.*"event":"refused"/g)?.length, 1, 'the issuer that was down has one line, and no client has any')
    t.notMatch(output(), /eyJ/, 'no token is in the log')
  })
}
