/*
 * The `subject` and `groups` options: whom limits, renewals, tickets, the registry, revocations and disconnects are about.
 */
import t from 'tap'
import type { Connection, WsAuthOptions } from '../../lib/index'
import { prepare, sign } from '../helpers/app'
import type { Settled } from '../helpers/sockets'
import { closeOf, openSocket, statusOf } from '../helpers/sockets'

const now = (): number => Math.floor(Date.now() / 1000)
const user = (id: unknown, more: object = {}): string => sign({ uid: id, iat: now() - 5, ...more })
const subject: WsAuthOptions['subject'] = ({ uid }) => uid === undefined ? undefined : `u${String(uid)}`
const websocket = { websocket: true } as const

async function build (t: Parameters<typeof prepare>[0], plugin: WsAuthOptions = {}, seen: Connection[] = []): ReturnType<typeof prepare> {
  return await prepare(t, {
    plugin: { subject, ...plugin },
    routes: (app) => app.get('/ws', websocket, (_socket, request) => { if (request.wsAuth !== null) seen.push(request.wsAuth) })
  })
}

t.test('a subject that is a number counts in the registry, in limits, in revocations and in disconnects', async (t) => {
  const seen: Connection[] = []
  const { app } = await build(t, { limits: { perUser: 2 } }, seen)
  const sockets: Settled[] = [await openSocket(app, '/ws', user(7)), await openSocket(app, '/ws', user(7))]
  t.equal(await statusOf(app, '/ws', user(7)), 429, 'the limit counts the subject')
  t.equal(await statusOf(app, '/ws', user(8)), 426)
  t.strictSame(app.wsAuth.connections.bySub('u7').map(({ sub }) => sub), ['u7', 'u7'])
  t.equal(seen[0]?.sub, 'u7')
  await app.wsAuth.disconnect({ sub: 'u7' })
  for (const socket of sockets) t.strictSame(await closeOf(socket), { code: 3003, reason: 'disconnected' })
  const again = await openSocket(app, '/ws', user(7))
  t.equal((await app.wsAuth.revoke({ sub: 'u7' })).closed, 1)
  t.strictSame(await closeOf(again), { code: 3000, reason: 'token_revoked' })
  t.equal(await statusOf(app, '/ws', user(7)), 401)
  t.equal(app.wsAuth.isRevoked({ uid: 7, iat: now() - 5 }), true, 'claims of a plain request are read in the same way')
  t.equal(await statusOf(app, '/ws', user(7, { iat: now() + 10 })), 426, 'a later token is another login')
})

t.test('a renewal needs the same subject, and may change the sub', async (t) => {
  const seen: Connection[] = []
  const { app } = await build(t, {}, seen)
  await openSocket(app, '/ws', user(7, { sub: 'a' }))
  const connection = seen[0] as Connection
  await connection.renew(user(7, { sub: 'b' }))
  t.equal((connection.claims as { sub: string }).sub, 'b')
  await t.rejects(connection.renew(user(8, { sub: 'b' })), { code: 'WS_AUTH_TOKEN_INVALID' })
  await t.rejects(connection.renew(sign({ sub: 'b', iat: now() })), { code: 'WS_AUTH_TOKEN_INVALID' }, 'a token without a subject may be of another user')
  t.strictSame(app.wsAuth.connections.bySub('u7'), [connection])
})

t.test('a subject that is not a text is refused, and a subject function that throws causes 503', async (t) => {
  const answers: Record<string, unknown> = { empty: '', number: 7, null: null, list: ['a'], promise: Promise.resolve('a') }
  const { app } = await build(t, { tickets: true, subject: ({ answer }) => { if (answer === 'throw') throw new Error('no'); return answers[String(answer)] as string | undefined } })
  for (const answer of Object.keys(answers)) t.equal(await statusOf(app, '/ws', sign({ answer })), 401, answer)
  t.equal(await statusOf(app, '/ws', sign({ answer: 'throw' })), 503)
  t.equal(await statusOf(app, '/ws', sign({ answer: 'other' })), 426, 'undefined is no subject')
  await t.rejects(app.wsAuth.issueTicket({ answer: 'empty' }), { code: 'WS_AUTH_TOKEN_INVALID' })
})

t.test('a sub that is no string is refused if the subject option is not set, and the log names the option', async (t) => {
  const { app, log } = await prepare(t, { routes: (app) => app.get('/ws', websocket, () => {}) })
  t.equal(await statusOf(app, '/ws', sign({ sub: 7 })), 401)
  t.ok(log.some((line) => line.includes('(the \\"subject\\" option reads another one)')))
  await t.rejects(app.wsAuth.issueTicket({ sub: 7 } as never), TypeError, 'tickets are off')
})

t.test('the ticket and the token that a route needs must have one subject', async (t) => {
  const { app } = await build(t, { tickets: { require: true } })
  const status = async (ofTicket: object, token: string): Promise<number> => {
    const { ticket } = await app.wsAuth.issueTicket(ofTicket)
    return await statusOf(app, `/ws?ticket=${ticket}`, token)
  }
  t.equal(await status({ uid: 7, sub: 'a' }, user(7, { sub: 'b' })), 426)
  t.equal(await status({ uid: 8, sub: 'a' }, user(7, { sub: 'a' })), 401)
  t.equal(await status({}, user(7)), 401)
})

t.test('the log warns once of a token without a subject if limits or revocations are about subjects', async (t) => {
  const told = (log: readonly string[]): number => log.filter((line) => line.includes('a token has no subject')).length
  const limited = await build(t, { limits: { perUser: 1 } })
  for (let i = 0; i < 3; i++) t.equal(await statusOf(limited.app, '/ws', sign({})), 426)
  t.equal(told(limited.log), 1)
  const revoking = await build(t)
  await statusOf(revoking.app, '/ws', sign({}))
  t.equal(told(revoking.log), 0, 'nothing is about subjects yet')
  await revoking.app.wsAuth.revoke({ sub: 'u7' })
  await statusOf(revoking.app, '/ws', sign({}))
  t.equal(told(revoking.log), 1)
})

t.test('groups are read from the claims, also at a renewal', async (t) => {
  const seen: Connection[] = []
  const { app } = await build(t, { groups: ({ tenant }) => tenant === undefined ? [] : [tenant, tenant, 'all'] }, seen)
  await openSocket(app, '/ws', user(7, { tenant: 'acme' }))
  const connection = seen[0] as Connection
  t.strictSame(connection.groups, ['acme', 'all'])
  await connection.renew(user(7, { tenant: 'evil' }))
  t.strictSame(connection.groups, ['evil', 'all'])
  t.equal(await statusOf(app, '/ws', user(7, { tenant: 7 })), 503, 'a group that is no string is a fault of the app')
  const plain = await build(t, { groups: () => 'acme' })
  t.equal(await statusOf(plain.app, '/ws', user(7)), 503)
})

t.test('a revoked ticket admits no client that has no token yet', async (t) => {
  for (const wsAuth of [{ optional: true }, { token: { message: true } }]) {
    const { app } = await prepare(t, {
      plugin: { tickets: { require: true } },
      routes: (app) => app.get('/ws', { ...websocket, wsAuth }, () => {})
    })
    const issue = async (sub: string): Promise<string> => (await app.wsAuth.issueTicket({ sub, iat: now() - 5 })).ticket
    const [ann, bea] = [await issue('ann'), await issue('bea')]
    await app.wsAuth.revoke({ sub: 'ann' })
    t.equal(await statusOf(app, `/ws?ticket=${ann}`, null), 401, JSON.stringify(wsAuth))
    t.equal(await statusOf(app, `/ws?ticket=${bea}`, null), 426)
  }
})

t.test('an async function in the place of a sync one refuses the client, and does not end the process', async (t) => {
  const fail = async (): Promise<never> => { throw new Error('later') }
  const wrong: WsAuthOptions[] = [{ subject: fail as never }, { groups: fail }, { roles: fail }, { scopes: fail }, { upgrades: fail as never }]
  for (const plugin of wrong) {
    const { app } = await prepare(t, { plugin, routes: (app) => app.get('/ws', { ...websocket, wsAuth: { roles: ['a'], scopes: ['b'] } }, () => {}) })
    const status = await statusOf(app, '/ws', sign({ sub: 'ann', roles: ['a'], scope: 'b' }))
    if ('upgrades' in plugin) {
      t.equal(status, 426, 'a dry run is no upgrade')
      await t.rejects(app.injectWS('/ws', { headers: { authorization: `Bearer ${sign()}` } }))
    } else t.ok([401, 503].includes(status), String(Object.keys(plugin)[0]))
  }
  await new Promise((resolve) => setImmediate(resolve))
})
