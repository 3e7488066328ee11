// @ts-check
/*
 * node test/bench/revocations.mjs [--revocations 300000] [--tokens 100000] [--rounds 31] [--dist <the dist folder>]
 *
 * What the question costs whether a token was revoked, with many revocations in force and as many different tokens as a server meets: a
 * loop over one token finds all that it reads in the caches of the processor. The claims of each token are parsed anew, just before, as
 * those of a handshake are, so that they are in the caches, and no string has a hash yet. The price is CPU time (process.cpuUsage), the median of all rounds.
 */
import { randomUUID } from 'node:crypto'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values: flags } = parseArgs({
  options: {
    revocations: { type: 'string', default: '300000' },
    tokens: { type: 'string', default: '100000' },
    rounds: { type: 'string', default: '31' },
    dist: { type: 'string', default: fileURLToPath(new URL('../../dist', import.meta.url)) }
  }
})
const [REVOCATIONS, TOKENS, ROUNDS] = [flags.revocations, flags.tokens, flags.rounds].map(Number)
const { RevocationList } = createRequire(import.meta.url)(resolve(flags.dist, 'backplane/revocation-list.js'))

/** How many tokens are parsed before they are asked about: few, because the claims of a token were just read. */
const BATCH = 100
const NOW = Math.floor(Date.now() / 1000)
const UNTIL = Date.now() + 86_400_000
const ISSUER = 'https://issuer.example'
/** @type {ReadonlyArray<readonly [string, number]>} How the revocations are spread over the kinds. */
const SHARES = [['sub', 0.4], ['sid', 0.4], ['jti', 0.19], ['group', 0.01]]

/** Values that are revoked, by kind. @type {Record<string, string[]>} */
const revoked = {}

function fill () {
  const list = new RevocationList()
  const add = (/** @type {string} */ kind, /** @type {string} */ value) => {
    list.add({ type: 'revoke', kind, value, issuedBy: kind === 'jti' || kind === 'sid' ? null : NOW - 3600, untilAt: UNTIL })
  }
  for (const [kind, share] of SHARES) {
    revoked[kind] = Array.from({ length: Math.round(REVOCATIONS * share) }, () => randomUUID())
    for (const value of revoked[kind]) add(kind, value)
  }
  for (let i = 0; i < 5; i++) add('kid', `old key ${i}`)
  add('iss', 'https://another.example')
  add('all', '*')
  return list
}

/** @param {number} share how many of the tokens are revoked */
function makeTokens (share) {
  return Array.from({ length: TOKENS }, (_, i) => {
    const values = Object.fromEntries(SHARES.map(([kind]) => [kind, randomUUID()]))
    if (i < TOKENS * share) {
      const kind = SHARES[i % SHARES.length][0]
      values[kind] = revoked[kind][Math.floor(Math.random() * revoked[kind].length)]
    }
    const { group, ...claims } = values
    return JSON.stringify({ claims: { ...claims, iss: ISSUER, iat: NOW - 7200, exp: NOW + 3600 }, group, kid: 'key 1' })
  }).sort(() => Math.random() - 0.5)
}

/** One round. @returns the CPU time of one question, in microseconds */
function measure (list, /** @type {string[]} */ texts, /** @type {(list: any, token: any) => unknown} */ ask) {
  let [time, found] = [0, 0]
  for (let first = 0; first < texts.length; first += BATCH) {
    const tokens = texts.slice(first, first + BATCH).map((text) => {
      const { claims, group, kid } = JSON.parse(text)
      return { claims, sub: claims.sub, groups: [group], kid }
    })
    const { user, system } = process.cpuUsage()
    for (const token of tokens) if (ask(list, token) !== null) found++
    const used = process.cpuUsage()
    time += used.user + used.system - user - system
  }
  return { price: time / texts.length, found }
}

const median = (/** @type {number[]} */ values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]
const question = (list, { claims, sub, groups, kid }) => list.kindFor(claims, sub, groups, kid)
const list = fill()
// What is done in slices.
await sleep(2000)
const cases = {
  'tokens that are not revoked': [makeTokens(0), question],
  'tokens of which half are revoked': [makeTokens(0.5), question],
  'the loop alone': [makeTokens(0), () => null]
}

const prices = Object.fromEntries(Object.keys(cases).map((name) => [name, /** @type {number[]} */ ([])]))
for (let round = 0; round < ROUNDS; round++) {
  for (const [name, [texts, ask]] of Object.entries(cases)) prices[name].push(measure(list, texts, ask).price)
}
console.log(`${list.size} revocations in force, ${TOKENS} different tokens, ${ROUNDS} rounds, Node.js ${process.version}`)
for (const [name, values] of Object.entries(prices)) {
  const sorted = [...values].sort((a, b) => a - b)
  console.log(`${name}: ${median(values).toFixed(3)} us (from ${sorted[0].toFixed(3)} to ${sorted.at(-1)?.toFixed(3)})`)
}
