/*
 * A client whose replies are not those that are read ends the start of the app; a Redis that is down, full or read-only does not.
 */
import { Batch, GlideClient } from '@valkey/valkey-glide'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { Command, Redis } from 'ioredis'
import { createClient } from 'redis'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../../lib/index'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import { SECRET, until } from '../../helpers/app'
import { connectAll, startMember } from '../../helpers/cluster-of-apps'
import { linesOf } from '../../helpers/redis-chat'
import { reasonToSkip, startProxy, startRedis } from '../../helpers/redis'
import { Listener } from '../../helpers/redis-parts'

const NEEDED = '"client" option must be '

async function appWith (t: Test, client: unknown): Promise<{ app: FastifyInstance, log: string[] }> {
  const log: string[] = []
  const app = Fastify({ logger: { level: 'warn', stream: { write: (line: string) => { log.push(line) } } } })
  t.teardown(async () => await app.close())
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, backplane: redisBackplane({ client: client as Redis }) })
  app.get('/chat', { websocket: true }, () => {})
  return { app, log }
}

/** Has the replies to one command in another form, as an app can set it for all clients of ioredis. */
function withTransformer (t: Test, name: string, transform: (reply: unknown) => unknown): void {
  Command.setReplyTransformer(name, transform)
  t.teardown(() => { Command.setReplyTransformer(name, (reply: unknown) => reply) })
}

/** A client of valkey-glide with the methods of one of ioredis, as an app may write it. */
class GlideAsIoredis {
  readonly #port: number
  #client: Promise<GlideClient> | undefined

  constructor (port: number) {
    this.#port = port
  }

  async connect (): Promise<GlideClient> {
    return await (this.#client ??= GlideClient.createClient({ addresses: [{ host: '127.0.0.1', port: this.#port }] }))
  }

  async call (...command: string[]): Promise<unknown> {
    return await (await this.connect()).customCommand(command)
  }

  multi (commands: string[][]): { exec: () => Promise<unknown> } {
    const batch = new Batch(true)
    for (const command of commands) batch.customCommand(command)
    const pairs = (replies: unknown[] | null): unknown => replies?.map((reply) => [null, reply])
    return { exec: async () => pairs(await (await this.connect()).exec(batch, false)) }
  }

  duplicate (): GlideAsIoredis {
    return new GlideAsIoredis(this.#port)
  }

  on (): void {}

  disconnect (): void {
    void this.#client?.then((client) => client.close())
  }
}

t.test('a client whose replies cannot be read ends the start of the app', { skip: reasonToSkip() }, async (t) => {
  const server = await startRedis(t)

  t.test('the error names the command whose reply has another form', async (t) => {
    const transformed: Record<string, (reply: unknown) => unknown> = {
      xadd: () => ({}),
      set: () => 'OK',
      getdel: (reply) => Buffer.from(String(reply)).toString('base64'),
      zrangebyscore: (reply) => new Set(reply as string[]),
      xread: (reply) => ({ streams: reply }),
      xrange: (reply) => (reply as Array<[string, string[]]>).map(([id, fields]) => ({ id, fields })),
      xinfo: () => ({}),
      zscan: (reply) => ({ cursor: (reply as unknown[])[0], members: (reply as unknown[])[1] }),
      get: () => ''
    }
    for (const [name, transform] of Object.entries(transformed)) {
      await t.test(`the error names ${name} if its reply has another form`, async (t) => {
        withTransformer(t, name, transform)
        const { app, log } = await appWith(t, server.client())
        const message = `${NEEDED}a client whose replies can be read, and its reply to ${name.toUpperCase()} has another form than that of ioredis, iovalkey or node-redis`
        await t.rejects(async () => await app.ready(), { name: 'TypeError', message })
        t.match(linesOf({ log }), [{ level: 50, msg: 'this client cannot be used for the log in Redis: handshakes are refused', err: { message } }])
      })
    }
  })

  t.test('a client of valkey-glide with the methods of ioredis is refused, because its streams have another form', async (t) => {
    const client = new GlideAsIoredis((await startProxy(t, server)).port)
    t.teardown(() => client.disconnect())
    const { app } = await appWith(t, client)
    await t.rejects(app.listen({ port: 0, host: '127.0.0.1' }), { name: 'TypeError', message: /its reply to XREAD has another form/ })
    t.equal(app.server.listening, false)
    t.throws(() => redisBackplane({ client: GlideClient.prototype as never }), { message: /and is one of valkey-glide/ })
  })

  t.test('a client whose methods do something else is refused', async (t) => {
    const wrong: Array<[object, string]> = [
      [{ duplicate: () => ({}) }, 'a client of ioredis or iovalkey, and its method "duplicate" does not return another one'],
      [{ multi: () => null }, 'a client of ioredis or iovalkey, and the result of its method "multi" has no method "exec"'],
      [{ multi: () => ({ exec: async () => ['OK'] }) }, 'a client of ioredis or iovalkey, and its transactions do not reply with pairs of an error and a reply']
    ]
    for (const [methods, words] of wrong) {
      const { app } = await appWith(t, Object.assign(server.client(), methods))
      await t.rejects(async () => await app.ready(), { name: 'TypeError', message: NEEDED + words })
    }
  })

  t.test('a client of node-redis that is not connected is refused', async (t) => {
    const { app } = await appWith(t, createClient({ socket: { path: server.path, tls: false } }))
    await t.rejects(async () => await app.ready(), { name: 'TypeError', message: `${NEEDED}a client of node-redis that is connected: await client.connect() before the app starts` })
  })

  t.test('the first exchange with Redis leaves no key', async (t) => {
    const member = new Listener()
    const link = redisBackplane({ client: server.client(), prefix: 'exchange' }).join(member)
    t.teardown(async () => await link.leave())
    await link.ready
    t.same((await server.client().keys('{exchange}:*')).sort(), ['{exchange}:alive', `{exchange}:inbox:${member.id}`])
  })
})

t.test('an app starts if Redis does not take the first exchange', { skip: reasonToSkip() }, async (t) => {
  t.test('an app starts if its user of Redis may not write', async (t) => {
    const server = await startRedis(t)
    await server.client().call('ACL', 'SETUSER', 'reader', 'on', '>secret', '~*', '+@read', '+@connection', '+multi', '+exec', '+info', '+time')
    const member = await startMember(t, server, { redis: { username: 'reader', password: 'secret' } })
    await connectAll([member], { sub: 'ann' })
    t.same(member.told(), ['cannot announce this instance in Redis: other instances may not wait for its answers'])
  })

  t.test('an app starts without Redis, and refuses handshakes with a line in the log if Redis comes back and the client cannot be used', async (t) => {
    const server = await startRedis(t)
    withTransformer(t, 'xread', () => null)
    await server.stop()
    const { app, log } = await appWith(t, server.client())
    await app.listen({ port: 0, host: '127.0.0.1' })
    const told = (): string[] => linesOf({ log }).map(({ msg }) => msg)
    t.ok(told().includes('handshakes are refused until the backplane can be reached'))
    await server.start()
    await until(() => told().includes('this client cannot be used for the log in Redis: handshakes are refused'), 'it is told of')
    t.throws(() => app.wsAuth.isRevoked({}), { code: 'WS_AUTH_UNAVAILABLE' })
  })
})
