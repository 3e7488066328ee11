/*
 * The example on the terminal, with one instance, and with two that share a Redis.
 */
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { buildExample, runExample, startExample } from '../helpers/example'
import { closeOf, connect, cookieOf, enterRoom, handshakeOf, post, statusOf, ticketOf } from '../helpers/example-chat'
import { reasonToSkip as reasonToSkipRedis, startRedis } from '../helpers/redis'

/** What the demonstration shows, of one instance or of two. */
function assertDemo (t: Test, stdout: string): void {
  for (const source of ['cookie', 'subprotocol', 'query', 'ticket']) t.match(stdout, new RegExp(`^ {2}${source} +open +/members as ann`, 'm'))
  t.match(stdout, /bea +hears +ann: Good morning!/)
  t.match(stdout, /401 WS_AUTH_TOKEN_MISSING +3000 token_missing/)
  t.match(stdout, /401 WS_AUTH_TOKEN_INVALID +3000 token_invalid/)
  t.match(stdout, /401 WS_AUTH_TOKEN_EXPIRED +3000 token_expired/)
  t.match(stdout, /400 WS_AUTH_TOKEN_AMBIGUOUS +3000 token_ambiguous/)
  t.match(stdout, /403 WS_AUTH_FORBIDDEN +3003 forbidden/)
  t.match(stdout, /403 WS_AUTH_ORIGIN_FORBIDDEN +3003 origin_forbidden/)
  t.match(stdout, /ann +closed 3000 token_revoked +4 connections/)
  t.match(stdout, /the ticket once more +401 WS_AUTH_TICKET_INVALID +3000 ticket_invalid/)
  t.match(stdout, /ann +closed 3003 disconnected/)
  t.match(stdout, /her cookies +401 Please log in/)
  t.match(stdout, /a token of hers +401 WS_AUTH_TOKEN_REVOKED +3000 token_revoked/)
  t.match(stdout, /first message +open \/members\/first-message as ann/)
  t.match(stdout, /told to renew +auth\.renew, auth\.ok +until/)
  t.match(stdout, /renewed with less +auth\.error WS_AUTH_TOKEN_INVALID/)
  t.match(stdout, /not renewed +closed 3000 token_expired/)
  t.match(stdout, /no first message +closed 3008 auth_timeout/)
  t.match(stdout, /the oldest +closed 3003 connection_replaced/)
  t.match(stdout, /renewed +1$/m)
  t.match(stdout, /refused +WS_AUTH_TIMEOUT +1$/m)
  t.match(stdout, /closed +token_expired +1$/m)
  t.match(stdout, /bea +closed 1001 shutdown/)
  t.notMatch(stdout, /eyJ/, 'no token is shown')
  t.notOk(stdout.includes('\u001B'), 'no colours where nobody sees them')
}

t.before(buildExample)
t.jobs = 3

t.test('the chat works on the terminal', { buffered: true }, async (t) => {
  t.test('the option --demo shows each place of a token and each refusal, and exits with 0', async (t) => {
    const { code, stdout, stderr } = await runExample(['--demo'])
    t.equal(code, 0)
    t.equal(stderr, '')
    t.match(stdout, /^listening on http:\/\/127\.0\.0\.1:\d+$/m)
    t.match(stdout, /an instance +1 closed/)
    t.match(stdout, /ann +closed 3000 token_revoked +2 connections, 1 instance$/m)
    assertDemo(t, stdout)
  })

  t.test('an error names a port that is taken, and the remedy', async (t) => {
    const { port } = await startExample(t)
    const { code, stderr } = await runExample(['--port', String(port)])
    t.equal(code, 1)
    t.equal(stderr, `port ${port} is taken: choose another, or any that is free with  npm start -- --port 0\n`)
  })

  t.test('an error names an unknown option or an invalid port in one line', async (t) => {
    const unknown = await runExample(['--prot', '1'])
    t.equal(unknown.code, 1)
    t.match(unknown.stderr, /^Unknown option '--prot'.*\n$/)
    const wrong = await runExample(['--port', 'many'])
    t.equal(wrong.code, 1)
    t.match(wrong.stderr, /^the port must be a number from 0 to 65535, not many\n$/)
  })

  t.test('a stopped chat with open connections closes them with 1001, and exits with 0', async (t) => {
    const example = await startExample(t)
    const socket = connect(example.url, await cookieOf(example.url, 'ann'))
    await once(socket, 'message')
    const [code, close] = await Promise.all([example.stop(), closeOf(socket)])
    t.equal(code, 0)
    t.equal(close, '1001 shutdown')
  })
})

t.test('the option --redis without a Redis is an error', { buffered: true }, async (t) => {
  t.jobs = 2
  t.test('an error names the remedy if there is no redis-server', { buffered: true }, async (t) => {
    const { code, stdout, stderr } = await runExample(['--redis', '--port', '0'], { PATH: join(process.cwd(), 'nowhere') })
    t.equal(code, 1)
    t.equal(stderr, 'there is no redis-server to start: install it, or say where a Redis is, REDIS_URL=redis://127.0.0.1:6379 npm start -- --redis\n')
    t.equal(stdout, '')
  })

  t.test('an error says that no Redis answers at REDIS_URL, without its password', { buffered: true }, async (t) => {
    const { code, stderr } = await runExample(['--redis', '--port', '0'], { REDIS_URL: 'redis://:pa55word@127.0.0.1:1' })
    t.equal(code, 1)
    t.equal(stderr, 'there is no Redis to be used at REDIS_URL: connect ECONNREFUSED 127.0.0.1:1\n')
  })
})

t.test('the option --redis runs two instances that agree', { buffered: true, skip: reasonToSkipRedis() }, async (t) => {
  t.jobs = 3

  t.test('the option --demo shows everything at two instances, and leaves nothing behind', { buffered: true }, async (t) => {
    const folder = newFolder(t)
    const { code, stdout, stderr } = await runExample(['--redis', '--demo'], { TMPDIR: folder })
    t.equal(code, 0)
    t.equal(stderr, '')
    t.equal([...stdout.matchAll(/^listening on http:\/\/127\.0\.0\.1:\d+$/mg)].length, 2)
    t.match(stdout, /^two instances, which agree by a redis-server of their own$/m)
    t.match(stdout, /an instance +0 closed .*\n +an instance +1 closed/, 'it was at the other')
    t.match(stdout, /ann +closed 3000 token_revoked +2 connections, 2 instances$/m)
    assertDemo(t, stdout)
    t.same(readdirSync(folder), [])
  })

  t.test('the redis-server of the chat ends with it, also if the chat cannot start', { buffered: true }, async (t) => {
    const folder = newFolder(t)
    const example = await startExample(t, { isTwofold: true, env: { TMPDIR: folder } })
    t.equal(readdirSync(folder).length, 1)
    const { socket } = await enterRoom(example.url, await cookieOf(example.url, 'ann'))
    const [code, close] = await Promise.all([example.stop(), closeOf(socket)])
    t.equal(code, 0)
    t.equal(close, '1001 shutdown')
    t.same(readdirSync(folder), [])
    const failed = await runExample(['--redis', '--port', '65535'], { TMPDIR: folder })
    t.equal(failed.code, 1)
    t.equal(failed.stderr, 'the port must be a number from 0 to 65535, not 65536\n')
    t.same(readdirSync(folder), [])
  })

  t.test('an error says that Redis requires a password', { buffered: true }, async (t) => {
    const redis = await startRedis(t, { settings: ['--requirepass', 'pa55word'] })
    const { code, stderr } = await runExample(['--redis', '--port', '0'], { REDIS_URL: redis.path })
    t.equal(code, 1)
    t.match(stderr, /^there is no Redis to be used at REDIS_URL: NOAUTH .*\n$/)
  })

  t.test('a login, a ticket, a disconnect and a log out apply to both instances', { buffered: true }, async (t) => {
    const redis = await startRedis(t)
    const { urls: [one = '', two = ''] } = await startExample(t, { isTwofold: true, env: { REDIS_URL: redis.path } })
    const [ann, bea] = [await cookieOf(one, 'ann'), await cookieOf(two, 'bea')]

    const ticket = await ticketOf(one, ann)
    t.equal(await handshakeOf(two, `/members?ticket=${ticket}`), 'open')
    t.equal(await handshakeOf(one, `/members?ticket=${ticket}`), '401')

    const { socket, id } = await enterRoom(one, ann)
    const disconnected = closeOf(socket)
    const response = await post(`${two}/connections/${id}/disconnect`, '{}', { cookie: bea })
    t.match(await response.json(), { closed: 1, instances: [{ answered: true, closed: 0 }, { answered: true, closed: 1 }] })
    t.equal(await disconnected, '3003 disconnected')

    const { socket: again } = await enterRoom(one, ann)
    const revoked = closeOf(again)
    t.equal(await statusOf(two, '/logout', ann), 204)
    t.equal(await revoked, '3000 token_revoked')
    for (const url of [one, two]) t.equal(await statusOf(url, '/token', ann), 401)
  })

  t.test('a log out while Redis is away holds at the asked instance, and the answer says that it may not hold at the other', { buffered: true }, async (t) => {
    const redis = await startRedis(t)
    const { url } = await startExample(t, { isTwofold: true, env: { REDIS_URL: redis.path, LOG_LEVEL: 'silent' } })
    const cookie = await cookieOf(url, 'ann')
    const { socket } = await enterRoom(url, cookie)
    await redis.stop()
    const closed = closeOf(socket)
    const response = await post(`${url}/logout`, '{}', { cookie })
    t.equal(response.status, 503)
    t.match(response.headers.getSetCookie(), [/^chat_token=; .*Expires=Thu, 01 Jan 1970/])
    t.equal(await closed, '3000 token_revoked')
    t.equal(await statusOf(url, '/token', cookie), 401)
  })
})

/** An empty folder, for what would be left behind. */
function newFolder (t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'example-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
