/*
 * Revocation and renewal: by which claims a renewed connection is found, and what becomes of a renewal that is revoked.
 */
import t from 'tap'
import { sign } from '../helpers/app'
import { seconds } from '../helpers/keys'
import { eventually, hold, startChat } from '../helpers/renewal-app'
import { REVOKED, closeOf } from '../helpers/revoked'
import type { Claims } from '../helpers/revoked'

t.test('a renewed connection is closed by its new jti and sid, not by the old ones', async (t) => {
  const { app, connect } = await startChat(t, { plugin: { renewal: true } })
  for (const kind of ['jti', 'sid'] as const) {
    for (const by of ['frame', 'renew'] as const) {
      const claims = { sub: 'ann', iat: seconds(-10) }
      const renewed = { ...claims, [kind]: `new ${by}` }
      const chat = await connect(sign({ ...claims, [kind]: `old ${by}` }))
      if (by === 'frame') t.equal((await chat.renewByFrame(sign(renewed))).type, 'auth.ok')
      else await chat.connection.renew(sign(renewed))
      t.equal((await app.wsAuth.revoke({ [kind]: `old ${by}` } as never)).closed, 0)
      t.ok(await chat.isHeard())
      t.equal((await chat.renewByFrame(sign({ ...claims, [kind]: `old ${by}` }))).code, 'WS_AUTH_TOKEN_REVOKED', 'and there is no way back')
      t.equal((await app.wsAuth.revoke({ [kind]: `new ${by}` } as never)).closed, 1)
      t.strictSame(await closeOf(chat), REVOKED)
    }
  }
})

t.test('a renewal that removes a jti or sid ends the match by it, and a renewal that adds one begins it', async (t) => {
  const { app, connect } = await startChat(t)
  const chat = await connect(sign({ sub: 'ann', jti: 'j1', iat: seconds(-10) }))
  await chat.connection.renew(sign({ sub: 'ann', sid: 's1', iat: seconds(-10) }))
  t.equal((await app.wsAuth.disconnect({ jti: 'j1' })).closed, 0)
  t.equal((await app.wsAuth.disconnect({ sid: 's1' })).closed, 1)
  t.equal((await closeOf(chat)).reason, 'disconnected')
})

t.test('a connection that was renewed after beforeAt is not closed', async (t) => {
  const { app, connect } = await startChat(t)
  const [renewed, old] = [await connect(sign({ sub: 'ann', iat: seconds(-60) })), await connect(sign({ sub: 'ann', iat: seconds(-60) }))]
  await renewed.connection.renew(sign({ sub: 'ann', iat: seconds(-10) }))
  t.equal((await app.wsAuth.revoke({ sub: 'ann', beforeAt: seconds(-30) * 1000 })).closed, 1)
  t.strictSame(await closeOf(old), REVOKED)
  t.ok(await renewed.isHeard())
  await t.rejects(renewed.connection.renew(sign({ sub: 'ann', iat: seconds(-60) })))
})

t.test('a refused renewal leaves the connection with its old claims', async (t) => {
  const { app, connect } = await startChat(t, { wsAuth: { authorize: ({ role }: Claims) => role !== 'none' } as never })
  const claims = { sub: 'ann', jti: 'j1', sid: 's1', iat: seconds(-10) }
  const chat = await connect(sign(claims))
  for (const next of [{ ...claims, jti: 'j2', sid: 's2', role: 'none' }, { ...claims, sub: 'bob', jti: 'j2', sid: 's2' }, { ...claims, jti: 'j2', sid: 's2', iat: seconds(-20) }]) {
    await t.rejects(chat.connection.renew(sign(next)))
    for (const match of [{ jti: 'j2' }, { sid: 's2' }, { sub: 'bob' }]) t.equal((await app.wsAuth.disconnect(match)).closed, 0)
  }
  t.ok(await chat.isHeard())
  t.equal((await app.wsAuth.revoke({ sid: 's1' })).closed, 1)
  t.strictSame(await closeOf(chat), REVOKED)
})

t.test('a renewal is refused if its new token or its connection is revoked meanwhile', async (t) => {
  const held = hold()
  let count = 0
  const { app, connect } = await startChat(t, { wsAuth: { authorize: async () => { if (++count > 2) await held.wait(); return true } } })
  const claims = { sub: 'ann', iat: seconds(-10) }
  const [stays, goes] = [await connect(sign({ ...claims, jti: 'j1' })), await connect(sign({ ...claims, jti: 'j2' }))]
  const outcomes = [stays, goes].map(async ({ connection }, i) => await connection.renew(sign({ ...claims, jti: `new ${i}` })).then(() => 'renewed', ({ code }) => String(code)))
  await eventually(() => count === 4, 'both are under way')
  t.equal((await app.wsAuth.revoke({ jti: 'new 0' })).closed, 0)
  t.equal((await app.wsAuth.revoke({ jti: 'j2' })).closed, 1)
  held.release()
  t.strictSame(await Promise.all(outcomes), ['WS_AUTH_TOKEN_REVOKED', 'WS_AUTH_TOKEN_INVALID'])
  t.equal(stays.connection.claims?.jti, 'j1')
  t.ok(await stays.isHeard())
  t.strictSame(await closeOf(goes), REVOKED)
  t.equal((await app.wsAuth.disconnect({ jti: 'new 1' })).closed, 0, 'it did not come back')
})
