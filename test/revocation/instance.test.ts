/*
 * What an instance logs of a command.
 */
import type { FastifyBaseLogger } from 'fastify'
import t from 'tap'
import { memoryBackplane } from '../../lib/backplane/memory'
import { RevocationList } from '../../lib/backplane/revocation-list'
import { Instance } from '../../lib/revocation/instance'

t.test('the log of a command says which command ran, and whether a connection was open', async (t) => {
  const lines: string[] = []
  const log = { info: (_fields: unknown, line: string) => { lines.push(line) }, warn: () => {}, error: () => {} } as unknown as FastifyBaseLogger
  let found = 0
  const instance = new Instance({ backplane: memoryBackplane(), connections: { close: () => found, closeAll: () => {} }, revocations: new RevocationList(), log, revocationTtl: 1000 })
  await instance.revoke({ sub: 'ann' })
  await instance.disconnect({ sub: 'ann' })
  found = 1
  await instance.revoke({ sub: 'ann' })
  await instance.disconnect({ sub: 'ann' })
  t.strictSame(lines, [
    'tokens were revoked, and no websocket connection of theirs was open', 'no websocket connection was open to be closed',
    'tokens were revoked, and their websocket connections were closed', 'websocket connections were closed'
  ])
  await instance.link.leave()
})
