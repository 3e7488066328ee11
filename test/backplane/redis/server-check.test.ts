/*
 * The check of the version of Redis.
 */
import t from 'tap'
import { checkServer } from '../../../lib/backplane/redis/server-check'
import { Listener } from '../../helpers/redis-parts'

t.test('a Redis before version 7 is reported as too old, and a later one is not', async (t) => {
  const toldOf = async (info: unknown): Promise<string[]> => {
    const { log, told } = new Listener()
    await checkServer({ send: async () => info, transact: async () => [] }, log)
    return told
  }
  const infoOf = (version: string): string => `# Server\r\nredis_version:${version}\r\nredis_git_sha1:00000000\r\nvalkey_version:1.0.0\r\nmaxmemory_policy:noeviction\r\n`
  for (const version of ['2.8.24', '5.0.14', '6.0.16', '6.2.18']) {
    const major = version.split('.', 1)[0] as string
    t.same(await toldOf(infoOf(version)), [`Redis ${major} is too old: fastify-ws-auth/redis needs version 7 or later`], version)
  }
  for (const version of ['7.0.0', '7.2.4', '8.2.1', '10.0.0', '255.255.255']) t.same(await toldOf(infoOf(version)), [], version)
  t.equal((await toldOf(Buffer.from(infoOf('6.2.18')))).length, 1, 'also if the client answers with a buffer')
  for (const nothing of ['', null, undefined, 'redis_version:unknown', 'x_redis_version:6.2.1', {}]) t.same(await toldOf(nothing), [])
})
