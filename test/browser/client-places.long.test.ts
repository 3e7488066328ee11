/*
 * The client in the places of a browser: workers, pages with a policy, pages of another origin, two tabs, cookies, React.
 */
import t from 'tap'
import type { Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { seconds } from '../helpers/keys'
import { sign } from '../helpers/app'
import { eventually } from '../helpers/browser'
import { startClientApp } from '../helpers/client-app'
import { connectIn, count } from '../helpers/client-page'
import type { Report } from '../helpers/client-page'
import { ENGINES, WEBKIT } from '../helpers/engines'
import type { Engine, Tab } from '../helpers/engines'
import { buildPackage, startFile } from '../helpers/example'
import { statsOf } from '../helpers/stats'

type Scenario = (t: Test, engine: Engine) => Promise<void>

/** A busy machine is late for a renewal. */
const PATIENT = { plugin: { expiryGrace: 20_000 } }

/** Has a worker connect, renew and send. */
async function runWorker (t: Test, engine: Engine, kind: 'dedicated' | 'shared'): Promise<void> {
  const { tab, asked, size, server } = await openPage(t, engine, PATIENT)
  await eventually(async () => await tab.run<boolean | null>('globalThis.isReady ?? null') === true, 'the script of the page has run')
  await tab.run(`connectInWorker('${kind}', 'socket', '/ws', { lives: [4], retry: { base: 100, crowd: 300 } })`)
  const report = async (): Promise<Report> => await tab.run('askWorker(\'reportOf\', \'socket\')')
  const until = async (isTrue: (report: Report) => boolean, what: string): Promise<void> => await eventually(async () => isTrue(await report()), what)
  await until(({ calls, state }) => calls.includes('renew') && state.status === 'open', 'a renewal')
  await tab.run('askWorker(\'sendAs\', \'socket\', \'from a worker\')')
  await until(({ events }) => events.includes('message from a worker'), 'the echo')
  t.same((await report()).events, ['open', 'message from a worker'])
  t.equal(asked.upgrades, 1)
  await server.restart()
  await until(({ events }) => count(events, 'open') === 2, 'it is back')
  t.same((await report()).events, ['open', 'message from a worker', 'close 1001 shutdown', 'open'])
  t.equal(size(), 1)
}

async function openPage (t: Test, engine: Engine, settings: Parameters<typeof startClientApp>[1] = {}) {
  const app = await startClientApp(t, settings)
  return { ...app, tab: await engine.open(t, app.url) }
}

/** Lets pages of any origin ask. */
function allowPages (app: FastifyInstance): void {
  app.addHook('onRequest', async ({ headers: { origin } }, reply) => {
    if (origin !== undefined) reply.headers({ 'access-control-allow-origin': origin, vary: 'origin' })
  })
  app.options('/*', async (_request, reply) => await reply.header('access-control-allow-headers', 'authorization').code(204).send())
}

/** What a page of a recipe shows. */
async function shows (tab: Tab, text: string): Promise<void> {
  await eventually(async () => (await tab.run<string | null>('document.querySelector(\'#state\')?.textContent ?? null').catch(() => null))?.startsWith(text) === true, text)
}

function countIn (output: string, text: string): number {
  return output.split(text).length - 1
}

const SCENARIOS: Record<string, Scenario> = {
  'a worker connects, renews and comes back': async (t, engine) => await runWorker(t, engine, 'dedicated'),

  'a shared worker connects, renews and comes back': async (t, engine) => await runWorker(t, engine, 'shared'),

  'a policy of the page that forbids the connection leaves the client waiting, with a hint and without a storm': async (t, engine) => {
    const other = await startClientApp(t)
    const { tab } = await openPage(t, engine, { headers: { 'content-security-policy': 'connect-src \'self\'' } })
    await tab.run('void addEventListener(\'securitypolicyviolation\', () => { globalThis.violations = (globalThis.violations ?? 0) + 1 })')
    const client = await connectIn(tab, other.url.replace('http', 'ws') + '/ws', { lives: [60] })
    await client.until(({ states }) => count(states, 'waiting') >= 2, 'two attempts')
    await new Promise((resolve) => setTimeout(resolve, 4000))
    const { states, state, calls, events } = await client.report()
    t.match(state, { end: { code: 1006, wasOpen: false } })
    // Chromium closes the socket, the others throw.
    t.match(`${state.end?.hint} ${state.end?.error}`, /CSP|CONTENT_BLOCKED|SecurityError/)
    t.ok(count(states, 'connecting') <= 12, `${count(states, 'connecting')} attempts`)
    t.same([calls, events], [['connect'], []])
    t.same(other.asked, { upgrades: 0, tokens: 0, tickets: 0, dryRuns: 0 })
    t.ok(await tab.run<number>('globalThis.violations') >= 2)
  },

  'a page of another origin connects, and CORS tells it why it is refused': async (t, engine) => {
    const { tab } = await openPage(t, engine)
    const open = await startClientApp(t, { before: allowPages })
    const closed = await startClientApp(t)
    const [openUrl, closedUrl] = [open, closed].map(({ url }) => `${url.replace('http', 'ws')}/ws`)
    const [good, told, untold] = [
      await connectIn(tab, closedUrl, { lives: [60] }, 'good'),
      await connectIn(tab, openUrl, { lives: [-10] }, 'told'),
      await connectIn(tab, closedUrl, { lives: [-10] }, 'untold')
    ]
    await good.echo('hello')
    const refused = await told.is('refused')
    t.match(refused.state, { end: { code: 1006, reason: 'token_expired', status: 401 } })
    t.same(refused.calls, ['connect', 'rejected WS_AUTH_TOKEN_EXPIRED'])
    const waiting = await untold.is('waiting')
    t.match(waiting.state, { end: { code: 1006, reason: '', hint: /CORS/ } })
    t.same(new Set(waiting.calls), new Set(['connect']), 'no token counts as refused')
  },

  'a page of another origin is refused by its cookie alone, and is told so with rejectWith auto': async (t, engine) => {
    const { tab } = await openPage(t, engine)
    const plugin = { rejectWith: 'auto' } as const
    const other = await startClientApp(t, { plugin })
    // Cookies of a host are sent to each of its ports.
    await tab.run(`void (document.cookie = 'token=${sign({ sub: 'ann', exp: seconds(60) })}; path=/')`)
    const client = await connectIn(tab, other.url.replace('http', 'ws') + '/ws', {})
    const { state } = await client.is('refused')
    t.match(state, { end: { code: 3003, reason: 'origin_forbidden', wasOpen: false } })
    t.equal(other.asked.upgrades, 1)
  },

  'a connection by cookie is renewed by tickets, and is refused after the logout': async (t, engine) => {
    const { tab, asked, server } = await openPage(t, engine, PATIENT)
    // The hint comes in the last fifth of a life, before its last twentieth: within seconds. The rest is long, because a busy machine is late.
    const renewCookie = async (life: number): Promise<void> => {
      await tab.run(`void (document.cookie = 'token=${sign({ sub: 'ann', iat: seconds(-1800), exp: seconds(life) })}; path=/')`)
    }
    await renewCookie(100)
    const client = await connectIn(tab, '/ws', { retry: { base: 100 } })
    await client.echo('hello')
    await renewCookie(101)
    await client.until(({ states }) => count(states, 'open') >= 2, 'a renewal')
    await renewCookie(102)
    await client.until(({ states }) => count(states, 'open') >= 3, 'another renewal')
    const { upgrades, tickets, dryRuns } = asked
    t.same([upgrades, dryRuns], [1, 0])
    t.ok(tickets >= 2)
    await tab.run('void (document.cookie = \'token=; max-age=0; path=/\')')
    await server.app.wsAuth.revoke({ sub: 'ann' })
    const { events, state } = await client.is('refused')
    t.match(state, { end: { reason: /token_(?:missing|revoked)/ } })
    t.same(events.slice(0, 3), ['open', 'message hello', 'close 3000 token_revoked'])
    t.same(statsOf(server.app).closed, { token_revoked: 1 })
  },

  'a library in a page sees neither the renewals nor the frames of webSocketClass': async (t, engine) => {
    const { tab, asked } = await openPage(t, engine, PATIENT)
    await connectIn(tab, '/ws', { lives: [60], sub: 'bea' })
    const events = await tab.run<string[]>(`(async () => {
      const { webSocketClass } = await import('/client.mjs')
      let calls = 0
      const token = (life) => async () => { calls++; return await (await fetch('/token?life=' + life, { method: 'POST' })).json() }
      const Good = webSocketClass({ token: token(4) })
      const socket = new Good('/ws')
      const events = []
      for (const type of ['open', 'message', 'close', 'error']) socket.addEventListener(type, ({ data, code }) => { events.push([type, data, code].join(' ').trim()) })
      await new Promise((resolve) => { socket.onopen = resolve })
      while (calls < 3) await new Promise((resolve) => setTimeout(resolve, 50))
      socket.send('hello')
      await new Promise((resolve) => { socket.onmessage = resolve })
      const Bad = webSocketClass({ token: token(-10), closeCodes: { unauthorized: 4401 } })
      const refused = new Bad('/ws')
      for (const type of ['open', 'close', 'error']) refused.addEventListener(type, ({ code }) => { events.push(['refused', type, code].join(' ').trim()) })
      await new Promise((resolve) => { refused.onclose = resolve })
      return events
    })()`)
    t.same(events, ['open', 'message hello', 'refused open', 'refused close 4401'])
    t.equal(asked.upgrades, 4)
  }
}

/** Those that need a browser with several tabs. */
const TABS: Record<string, Scenario> = {
  'two tabs that share a refresh token of one use renew in turn, and neither is logged out': async (t, engine) => {
    const { url, output } = await startFile(t, 'client/tabs.js', { LEEWAY: '0', TOKEN_SECONDS: '5' })
    const first = await engine.open(t, url)
    await shows(first, 'refused token_missing')
    await first.run('void document.querySelector(\'button\').click()')
    await shows(first, 'open')
    const second = await first.sibling(url)
    await shows(second, 'open')
    await eventually(() => countIn(output(), '"event":"renewed"') >= 5, 'renewals of both')
    for (const tab of [first, second]) await shows(tab, 'open')
    t.equal(countIn(output(), '"statusCode":401'), 1, 'only the first refresh was refused, before the login')
  }
}

/** Recipes that test/package/client-recipes runs in Chromium. */
const RECIPES: Record<string, Scenario> = {
  'React with StrictMode runs each effect twice, and there is one call for a token and one connection': async (t, engine) => {
    const { url, output } = await startFile(t, 'client/server.js')
    const tab = await engine.open(t, `${url}/plain.html`)
    await shows(tab, 'refused')
    await tab.run('fetch(\'/login\', { method: \'POST\', headers: { \'content-type\': \'application/json\' }, body: \'{"name":"ann"}\' }).then(() => null)')
    const before = countIn(output(), '"url":"/token"')
    await tab.goto(`${url}/react.html`)
    await shows(tab, 'open')
    await tab.run('fetch(\'/logout\', { method: \'POST\' }).then(() => null)')
    await shows(tab, 'refused token_revoked')
    t.equal(countIn(output(), '"event":"accepted"'), 1)
    t.equal(countIn(output(), '"url":"/token"') - before, 2, 'the second is for the refused one')
  },

  'a login by cookie lasts while it is used': async (t, engine) => {
    const { url, output } = await startFile(t, 'client/cookie-login.js', { TOKEN_SECONDS: '30' })
    const tab = await engine.open(t, url)
    await shows(tab, 'refused token_missing')
    await tab.run('void document.querySelector(\'button\').click()')
    await shows(tab, 'open')
    await eventually(() => countIn(output(), '"event":"renewed"') >= 1, 'a renewal')
    await shows(tab, 'open')
    t.equal(countIn(output(), '"event":"accepted"'), 1)
  }
}

t.test('the client works in each place of a browser', async (t) => {
  await buildPackage()
  t.jobs = 3
  for (const { name, skip, start } of [...ENGINES, WEBKIT]) {
    t.test(`in ${name}`, { skip, buffered: true }, async (t) => {
      const engine = await start(t)
      const scenarios = Object.entries({ ...SCENARIOS, ...engine.hasManyPages ? TABS : {}, ...name === 'Chromium' ? {} : RECIPES })
      t.jobs = engine.hasManyPages ? scenarios.length : 1
      for (const [title, run] of scenarios) t.test(title, { buffered: true }, async (t) => await run(t, engine))
    })
  }
})
