/*
 * An app whose queries begin with a semicolon (`useSemicolonDelimiter`): the path of a ticket, the token and what is logged end
 * where the router ends the path. In any other app a semicolon is a character of the path.
 */
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { sign, start } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { upgrade } from '../helpers/raw-client'

const TOKEN = sign({ sub: 'ann' })
const AUTHORIZED = { authorization: `Bearer ${TOKEN}` }
const SEMICOLON: FastifyServerOptions = { routerOptions: { useSemicolonDelimiter: true } } as FastifyServerOptions
const NO_SEMICOLON: FastifyServerOptions = { routerOptions: { useSemicolonDelimiter: false } } as FastifyServerOptions

async function build (t: Test, server: FastifyServerOptions): Promise<StartedApp> {
  return await start(t, {
    server,
    plugin: { tickets: true },
    routes: (app: FastifyInstance) => {
      for (const path of ['/chat', '/rooms/:id', '/files/*']) app.get(path, { websocket: true }, () => {})
    }
  })
}

/** The answer to a handshake with a ticket in place of TICKET. */
async function spend (t: Test, { app, port }: StartedApp, url: string, binding: { path?: string, origin?: string }): Promise<{ answer: string, ticket: string }> {
  const { ticket } = await app.wsAuth.issueTicket({ sub: 'ann' }, binding)
  const { answer } = await upgrade(t, port, { path: url.replace('TICKET', ticket) })
  return { answer: answer.status === 101 ? '101' : `${answer.status} ${(JSON.parse(answer.body) as { code?: string }).code}`, ticket }
}

const ADMITTED: Array<[url: string, path: string]> = [
  ['/chat;ticket=TICKET', '/chat'],
  ['/chat;a=1&ticket=TICKET', '/chat'],
  ['/chat;ticket=TICKET&a=1', '/chat'],
  ['/chat;&ticket=TICKET', '/chat'],
  ['/chat;a=b;c&ticket=TICKET', '/chat'],
  ['/chat;a=?&ticket=TICKET', '/chat'],
  ['/chat?ticket=TICKET', '/chat'],
  ['/chat?a=;&ticket=TICKET', '/chat'],
  ['/rooms/7;a=1&ticket=TICKET', '/rooms/7'],
  ['/files/a/b;ticket=TICKET', '/files/a/b']
]

t.test('a ticket that is bound to a path is valid for it if the query begins with a semicolon', async (t) => {
  const started = await build(t, SEMICOLON)
  for (const [url, path] of ADMITTED) t.equal((await spend(t, started, url, { path })).answer, '101', url)
  t.equal((await spend(t, started, '/chat;a=1&ticket=TICKET', {})).answer, '101', 'also one that is bound to nothing')
})

t.test('a ticket that is bound to another path is refused and spent if the query begins with a semicolon', async (t) => {
  const started = await build(t, SEMICOLON)
  const rows: Array<[url: string, path: string]> = [
    ['/chat;ticket=TICKET', '/rooms/7'],
    ['/chat;a=1&ticket=TICKET', '/chat;a=1'],
    ['/chat;a=1&ticket=TICKET', '/chat;'],
    ['/rooms/7;a=1&ticket=TICKET', '/rooms/8'],
    ['/chat;/rooms/7?ticket=TICKET&ticket2=', '/rooms/7']
  ]
  for (const [url, path] of rows) {
    const { answer, ticket } = await spend(t, started, url, { path })
    t.match(answer, /^401 WS_AUTH_T(ICKET_INVALID|OKEN_MISSING)$/, `${url} of ${path}`)
    if (answer !== '401 WS_AUTH_TICKET_INVALID') continue
    const { answer: { status } } = await upgrade(t, started.port, { path: `${path}${path.includes(';') ? '&' : ';'}ticket=${ticket}` })
    t.not(status, 101, `${path} does not get it any more`)
  }
})

t.test('a dry run does not spend the ticket behind a semicolon', async (t) => {
  const { app, port } = await build(t, SEMICOLON)
  const { ticket } = await app.wsAuth.issueTicket({ sub: 'ann' }, { path: '/chat' })
  for (let i = 0; i < 2; i++) t.equal((await app.inject(`/chat;a=1&ticket=${ticket}`)).statusCode, 426)
  t.equal((await upgrade(t, port, { path: `/chat;a=1&ticket=${ticket}` })).answer.status, 101)
  t.equal((await upgrade(t, port, { path: `/chat;a=1&ticket=${ticket}` })).answer.status, 401)
  t.equal((await app.inject({ method: 'POST', url: '/ws-ticket;a=1', headers: AUTHORIZED })).statusCode, 200, 'the ticket route has a semicolon too')
})

t.test('the plugin finds a token behind a semicolon, and logs neither it nor a ticket', async (t) => {
  const started = await build(t, SEMICOLON)
  const { app, port, log } = started
  for (const path of [`/chat;token=${TOKEN}`, `/chat;a=1&token=${TOKEN}`, `/rooms/7;token=${TOKEN}&b=2`]) {
    t.equal((await upgrade(t, port, { path })).answer.status, 101, path.replace(TOKEN, 'TOKEN'))
  }
  const { ticket } = await spend(t, started, '/chat;a=1&ticket=TICKET', { path: '/chat' })
  await app.close()
  t.notOk(log.some((line) => line.includes(TOKEN)), 'no token')
  t.notOk(log.some((line) => line.includes(ticket)), 'no ticket')
})

t.test('a semicolon is a character of the path if the router does not split at it', async (t) => {
  for (const server of [NO_SEMICOLON, {}]) {
    const started = await build(t, server)
    t.equal((await spend(t, started, '/files/a;b?ticket=TICKET', { path: '/files/a;b' })).answer, '101')
    t.equal((await spend(t, started, '/rooms/7;a=1?ticket=TICKET', { path: '/rooms/7;a=1' })).answer, '101')
    t.equal((await spend(t, started, '/files/a;b?ticket=TICKET', { path: '/files/a' })).answer, '401 WS_AUTH_TICKET_INVALID', 'the path is not cut off')
    t.equal((await spend(t, started, '/rooms/7;ticket=TICKET', { path: '/rooms/7' })).answer, '401 WS_AUTH_TOKEN_MISSING', 'there is no ticket in a path')
    t.equal((await spend(t, started, '/chat;ticket=TICKET', { path: '/chat' })).answer, '404 undefined')
  }
})
