/*
 * The column of this client in the comparison with other libraries, for real: it is what the recorded table says. The other columns are
 * those of `npm run compare`.
 */
import './compare/page'
import { readFileSync } from 'node:fs'
import t from 'tap'
import type { Test } from 'tap'
import { fastifyWsAuthClient } from './compare/libraries/fastify-ws-auth'
import { observe, situations } from './compare/situations'
import type { Situation } from './compare/situations'
import { columnOf } from './compare/table'
import { withoutNumbers } from './compare/words'

const recorded = columnOf(readFileSync('test/client/compare/results.md', 'utf8'), fastifyWsAuthClient.name)

t.jobs = situations.length

async function compare (t: Test, situation: Situation): Promise<void> {
  t.equal(withoutNumbers(await observe(fastifyWsAuthClient, situation)), withoutNumbers(recorded.get(situation.title) ?? ''))
}

/** Resolves when the situations without an event of the page are over: such an event reaches all clients. */
const others: Array<Promise<unknown>> = []

for (const situation of situations) {
  const ended = t.test(`the table says what this client does: ${situation.title}`, async (t) => {
    if (situation.hasPageEvent === true) await Promise.all(others)
    await compare(t, situation)
  })
  if (situation.hasPageEvent !== true) others.push(ended)
}
