/*
 * What a handshake leads to is what DESIGN says: 10,000 handshakes that a seed determines, sent to a few dozen apps, and compared
 * with a model that was written from the contract alone (test/helpers/handshake-model.ts).
 *
 * FC_SEED repeats a run. DIFFERENTIAL_ONLY=<app>/<number> sends one handshake of it alone. Of disagreements that are alike one is
 * printed, with DIFFERENTIAL_ALL=1 each.
 */
import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { moveClock, restoreClock } from '../../lib/testing/index'
import { CODES } from '../helpers/handshake-contract'
import { isClean } from '../helpers/handshake-model'
import { drawAll, TriedApp, visible } from '../helpers/handshake-run'
import type { Trial } from '../helpers/handshake-run'

const { FC_SEED, DIFFERENTIAL_ONLY, DIFFERENTIAL_ALL } = process.env
const SEED = FC_SEED === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(FC_SEED)
const APPS = 36
const PER_APP = 278
/** How many handshakes are under way at once. */
const AT_ONCE = 24
interface Disagreement {
  readonly trial: Trial
  readonly expected: Readonly<Record<string, unknown>>
  readonly got: Readonly<Record<string, unknown>> | string
}

/** Runs all, so many at once. */
async function inBatches<T> (items: readonly T[], atOnce: number, run: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values()
  await Promise.all(Array.from({ length: atOnce }, async () => { for (const item of queue) await run(item) }))
}

/** What a value looks like to who reads JSON. */
function asJson (value: unknown): unknown {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value))
}

async function disagreementOf (app: TriedApp, trial: Trial): Promise<Disagreement | null> {
  const { verdict, ...expected } = visible(trial)
  const said = { ...expected, user: asJson(expected.user) }
  try {
    const { seen, url } = await app.try(trial)
    if (!isDeepStrictEqual(seen, said)) return { trial, expected: { verdict, ...said }, got: { ...seen } }
    if (url !== null && !isClean(trial.scenario.world.app, url)) return { trial, expected: { verdict, url: 'without a token' }, got: { url } }
    return null
  } catch (error) {
    return { trial, expected: { verdict, ...said }, got: String(error) }
  }
}

/** What is expected and what is got, in short, and all that are alike. */
function kindsOf (disagreements: readonly Disagreement[]): Map<string, [Disagreement, ...Disagreement[]]> {
  const kinds = new Map<string, [Disagreement, ...Disagreement[]]>()
  for (const disagreement of disagreements) {
    const { expected: { verdict, ...expected }, got } = disagreement
    const differing = typeof got === 'string'
      ? got.slice(0, 60)
      : Object.keys({ ...expected, ...got }).filter((key) => !isDeepStrictEqual(expected[key], got[key])).map((key) => /user|url/.test(key) ? key : `${key} ${JSON.stringify(expected[key])} != ${JSON.stringify(got[key])}`).join(', ')
    const kind = `${disagreement.trial.scenario.sent.way} ${String(verdict)}: ${differing}`
    const known = kinds.get(kind)
    if (known === undefined) kinds.set(kind, [disagreement])
    else known.push(disagreement)
  }
  return kinds
}

/** A disagreement, with all that it takes to repeat it. */
function describe ({ trial: { appIndex, index, scenario: { world, sent } }, expected, got }: Disagreement): object {
  const { app: { routes, ...app }, route, tokens, tickets } = world
  return { repeat: `FC_SEED=${SEED} DIFFERENTIAL_ONLY=${appIndex}/${index}`, expected, got, sent, route, app, tokens: Object.fromEntries(tokens), tickets: Object.fromEntries(tickets) }
}

t.test('10,000 drawn handshakes have the outcomes that the contract gives', async (t) => {
  t.comment(`FC_SEED=${SEED}`)
  const now = Math.floor(Date.now() / 1000)
  const all = drawAll(SEED, APPS, PER_APP, now)
  const counts = new Map<string, number>()
  for (const trial of all.flatMap(({ trials }) => trials)) {
    const { verdict } = visible(trial)
    counts.set(verdict, (counts.get(verdict) ?? 0) + 1)
  }
  t.comment(JSON.stringify(Object.fromEntries([...counts].sort(([, one], [, other]) => other - one))))

  const wanted = all.flatMap(({ trials }) => trials).filter(({ appIndex, index }) => DIFFERENTIAL_ONLY === undefined || DIFFERENTIAL_ONLY === `${appIndex}/${index}`)
  const apps = new Map<number, TriedApp>()
  t.teardown(async () => { await Promise.all([...apps.values()].map((app) => app.close())) })
  for (const appIndex of new Set(wanted.map(({ appIndex }) => appIndex))) {
    const { rule, trials = [] } = all[appIndex] ?? {}
    if (rule === undefined) continue
    const app = new TriedApp(rule)
    apps.set(appIndex, app)
    await app.start()
    await app.prepare(trials, now)
  }
  // What expires two seconds after it was issued has.
  t.teardown(restoreClock)
  await moveClock(3100)
  const began = Date.now()
  const disagreements: Disagreement[] = []
  await inBatches(wanted, AT_ONCE, async (trial) => {
    const app = apps.get(trial.appIndex)
    const disagreement = app === undefined ? null : await disagreementOf(app, trial)
    if (disagreement !== null) disagreements.push(disagreement)
  })
  t.comment(`${wanted.length} handshakes took ${Date.now() - began} ms, and all that came before ${began - now * 1000} ms`)
  for (const [kind, [first, ...others]] of kindsOf(disagreements)) {
    t.comment(`${kind}: ${others.length + 1} times, as in ${others.slice(0, 5).map(({ trial }) => `${trial.appIndex}/${trial.index}`).join(' ')}`)
    for (const disagreement of DIFFERENTIAL_ALL === undefined ? [first] : [first, ...others]) t.comment(JSON.stringify(describe(disagreement)).replace(/(.)\1{99,}/g, (run, one: string) => `${one}{${run.length}}`))
  }
  t.equal(disagreements.length, 0, `FC_SEED=${SEED}: of ${wanted.length} handshakes all lead to what the model says`)

  t.test('each code that a handshake can have is drawn at least 20 times', async (t) => {
    // How many handshakes wait at once is not drawn.
    const drawn = CODES.filter((code) => code !== 'WS_AUTH_BUSY')
    for (const verdict of ['accepted', 'dry run accepted', '1009', ...drawn]) t.ok((counts.get(verdict) ?? 0) >= 20, `FC_SEED=${SEED}: ${verdict}, ${counts.get(verdict) ?? 0} times`)
  })
})
