/*
 * A command closes the other connections even if closing one throws.
 */
import type { FastifyBaseLogger } from 'fastify'
import t from 'tap'
import { memoryBackplane } from '../../lib/backplane/memory'
import { RevocationList } from '../../lib/backplane/revocation-list'
import { Instance } from '../../lib/revocation/instance'
import type { Closable } from '../../lib/revocation/instance'

t.test('a connection whose close throws counts as closed, causes a line in the log, and does not keep the others open', async (t) => {
  const closed: string[] = []
  const errors: unknown[][] = []
  const connection = (name: string, isEnded = false): Closable => ({
    isEnded,
    claims: {},
    closeFor: (reason) => {
      closed.push(`${name} ${reason}`)
      if (name === 'bad') throw new Error('no')
    }
  })
  const log = { info: () => {}, warn: () => {}, error: (...args: unknown[]) => { errors.push(args) } } as unknown as FastifyBaseLogger
  const connections = { find: () => [connection('bad'), connection('ended', true), connection('good')], closeAll: () => {} }
  const instance = new Instance({ backplane: memoryBackplane(), connections, revocations: new RevocationList(), log, revocationTtl: 1000 })
  t.equal((await instance.disconnect({ sub: 'ann' })).closed, 2)
  t.strictSame(closed, ['bad disconnected', 'good disconnected'])
  t.match(errors, [[{ err: { message: 'no' } }, 'closing a websocket connection failed']])
  await instance.link.leave()
})

t.test('the log of a command says which command ran, and whether a connection was open', async (t) => {
  const lines: string[] = []
  const log = { info: (_fields: unknown, line: string) => { lines.push(line) }, warn: () => {}, error: () => {} } as unknown as FastifyBaseLogger
  const found: Closable[] = []
  const instance = new Instance({ backplane: memoryBackplane(), connections: { find: () => found, closeAll: () => {} }, revocations: new RevocationList(), log, revocationTtl: 1000 })
  await instance.revoke({ sub: 'ann' })
  await instance.disconnect({ sub: 'ann' })
  found.push({ isEnded: false, claims: {}, closeFor: () => {} })
  await instance.revoke({ sub: 'ann' })
  await instance.disconnect({ sub: 'ann' })
  t.strictSame(lines, [
    'tokens were revoked, and no websocket connection of theirs was open', 'no websocket connection was open to be closed',
    'tokens were revoked, and their websocket connections were closed', 'websocket connections were closed'
  ])
  await instance.link.leave()
})
