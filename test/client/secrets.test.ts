/*
 * A token must be nowhere but in the handshake, in the renewal, and in the requests for tickets and for the reason of a refusal.
 */
import type { Socket } from 'node:net'
import { inspect } from 'node:util'
import t from 'tap'
import type { Test } from 'tap'
import { sign, start, until } from '../helpers/app'
import { watch } from '../helpers/client-socket'
import type { ConnectOptions } from '../../lib/client/index'

const OUTCOMES = ['good', 'expired', 'forged', 'forbidden', 'revoked', 'none'] as const
const WAYS: Readonly<Record<string, ConnectOptions>> = {
  subprotocol: { via: 'subprotocol' }, message: { via: 'message' }, header: { via: 'header' }, query: { via: 'query' }, ticket: { ticket: true }
}
type Outcome = typeof OUTCOMES[number]

/** What the console gets while a test runs. */
function captureConsole (t: Test): string[] {
  const lines: string[] = []
  for (const name of ['log', 'info', 'warn', 'error', 'debug', 'trace'] as const) {
    const original = console[name]
    console[name] = (...args: unknown[]) => { lines.push(inspect(args, { depth: 9 })) }
    t.teardown(() => { console[name] = original })
  }
  return lines
}

/** Each token of a user, all with one secret claim. */
function tokenOf (sub: string, outcome: Outcome): string {
  const exp = Math.floor(Date.now() / 1000) + (outcome === 'expired' ? -60 : 60)
  const claims = { sub, secretClaim: 'a9f3c1', exp, roles: outcome === 'forbidden' ? [] : ['member'], ...outcome === 'revoked' && { sid: 'revoked' } }
  return sign(claims, outcome === 'forged' ? 'another secret of thirty-two bytes' : undefined)
}

/** All that one can see of a value, also of what is not enumerable. */
function textOf (value: unknown): string {
  const properties = typeof value === 'object' && value !== null ? Object.getOwnPropertyNames(value).map((name) => `${name}: ${inspect((value as Record<string, unknown>)[name], { depth: 6, showHidden: true })}`) : []
  return [inspect(value, { depth: 9, showHidden: true }), ...properties].join('\n')
}

t.test('a token is in no event, state, error, URL, console or log', async (t) => {
  const console = captureConsole(t)
  const { app, port, log } = await start(t, {
    plugin: { tickets: true, token: { query: true }, renewal: true },
    routes: (app) => {
      app.get('/', { websocket: true, wsAuth: { roles: ['member'], token: { message: false } } }, () => {})
      app.get('/message', { websocket: true, wsAuth: { roles: ['member'], token: { message: true } } }, () => {})
    }
  })
  await app.wsAuth.revoke({ sid: 'revoked' })
  // A fetch that is aborted while it connects leaves a connection without a request.
  const connections = new Set<Socket>()
  app.server.on('connection', (connection: Socket) => { connections.add(connection) })
  const tokens: string[] = []
  for (const [way, options] of Object.entries(WAYS)) {
    for (const outcome of OUTCOMES) {
      const seen: string[] = []
      const { socket, states } = watch(t, outcome === 'none' ? 'ws://127.0.0.1:1/' : `ws://127.0.0.1:${port}/${way === 'message' ? 'message' : ''}`, ({ why }) => {
        const token = tokenOf(way, why === 'renew' ? 'forged' : outcome)
        tokens.push(token)
        return token
      }, { ...options, retry: { base: 1, crowd: 1 } })
      for (const type of ['open', 'message', 'close', 'error', 'state']) {
        socket.addEventListener(type, (event: unknown) => { seen.push(textOf(event), textOf((event as { error?: unknown }).error)) })
      }
      const error = await Promise.race([socket.opened.then(() => null, (reason: unknown) => reason), until(() => states.length > 3 || socket.state.status === 'closed', 'some states')])
      if (socket.state.status === 'open') seen.push(textOf(await socket.renew().catch((reason: unknown) => reason)))
      if (way !== 'query') seen.push(socket.url)
      socket.close(4000, 'bye')
      const text = [...seen, textOf(error), ...states.map(textOf), textOf(socket.state), textOf(socket)].join('\n')
      t.ok(text.length > 100, 'something was seen')
      const leaked = tokens.filter((token) => text.includes(token.slice(-43)))
      // The URL of a socket is what it connects to.
      t.strictSame(leaked, [], `${way}, ${outcome}`)
    }
  }
  t.ok(tokens.length >= OUTCOMES.length * Object.keys(WAYS).length - 1)
  for (const connection of connections) connection.destroy()
  const logged = [...log, ...console].join('\n')
  t.ok(logged.includes('refused'), 'the refusals are logged')
  t.strictSame(tokens.filter((token) => logged.includes(token.slice(-43)) || logged.includes(token.split('.')[1] as string)), [], 'nothing of a token is logged')
})
