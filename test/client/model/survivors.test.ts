/*
 * More details of the client, each found by a mutant that lived: calls that cross, and the last bytes of its checks.
 */
import { webSocketClass } from '../../../lib/client/index'
import type { Credential, CredentialRequest } from '../../../lib/client/index'
import { story } from './story'

story('opened stays one promise until it is settled', async (stage, t) => {
  const socket = stage.connect()
  const { opened } = socket
  await stage.flush()
  stage.socket.drop()
  await stage.flush()
  t.equal(socket.state.status, 'waiting')
  t.equal(socket.opened, opened)
  await stage.advance(500)
  stage.socket.accept()
  await opened
  stage.socket.drop()
  t.ok(socket.opened !== opened)
  socket.opened.catch(() => {})
})

story('a socket that a listener of open has closed tells no message', async (stage, t) => {
  const socket = stage.connect()
  socket.onopen = () => socket.close()
  await stage.flush()
  stage.socket.open('')
  stage.socket.message('the first message opens it')
  t.strictSame(stage.events.filter((event) => event.startsWith('(')), ['(close 1000)', '(open)'])
})

story('a function for tickets is told why, for a handshake and for a dry run', async (stage, t) => {
  const whys: string[] = []
  stage.answers = [{ status: 401, code: 'WS_AUTH_TICKET_INVALID' }]
  stage.connect({ token: undefined, ticket: ({ why }) => `ticket-${whys.push(why)}` })
  await stage.flush()
  stage.socket.drop()
  await stage.flush()
  t.strictSame(whys, ['connect', 'connect', 'rejected'])
})

story('a dry run without an answer has a hint', async (stage, t) => {
  const socket = stage.connect()
  await stage.flush()
  stage.socket.drop()
  await stage.flush()
  t.match(socket.state, { end: { error: TypeError, hint: /CORS/ } })
})

story('a renewal that fails a second before the end is tried again, and later not', async (stage, t) => {
  for (const [expiresIn, errors] of [[1000, 0], [999, 1]] as const) {
    let isDown = false
    const socket = await stage.open({ token: (request) => { if (isDown) throw new Error('down'); return stage.token(request) } })
    stage.errors.length = 0
    isDown = true
    stage.socket.frame('auth.renew', { expiresIn })
    await stage.flush()
    t.equal(stage.errors.length, errors)
    socket.close()
  }
})

story('via is one of four words, and a header needs create', async (_stage, t) => {
  for (const via of ['xquery', 'queryx', '']) t.throws(() => webSocketClass({ via } as never), /^TypeError: "via" option|^"via" option/)
  t.throws(() => webSocketClass({ via: 'header' }), /"create" option/)
  webSocketClass({ via: 'query' })
})

story('what the server tells of a token that is not kept any more keeps nothing', async (stage, t) => {
  const create = stage.classOf({ token: (request) => ({ token: stage.token(request), expiresIn: 60_000 }) })
  create()
  await stage.flush()
  const first = stage.socket
  first.accept()
  create()
  await stage.flush()
  stage.socket.open()
  stage.socket.drop(3000, 'token_expired')
  await stage.flush()
  t.equal(stage.sentToken, 'token-2')
  // The second token is kept now. The first connection goes on, and the server tells of the first token.
  stage.socket.accept()
  first.frame('auth.ok', { expiresIn: 50_000 })
  create()
  await stage.flush()
  t.equal(stage.sentToken, 'token-2')
})

story('what the server tells of a token, while the next one is asked for, is no error', async (stage, t) => {
  const answers: Array<(token: Credential) => void> = []
  const create = stage.classOf({ token: async () => await new Promise<Credential>((resolve) => answers.push(resolve)) })
  create()
  await stage.flush()
  answers[0]?.('first')
  await stage.flush()
  const first = stage.socket
  first.accept()
  create()
  await stage.flush()
  stage.socket.open()
  stage.socket.drop(3000, 'token_expired')
  await stage.flush()
  t.equal(answers.length, 2)
  first.frame('auth.ok', { connection: 'c1', expiresIn: 50_000 })
  first.message('goes on')
  t.ok(stage.events.includes('(goes on)'))
  answers[1]?.('second')
  await stage.flush()
  t.equal(stage.sentToken, 'second')
})

story('reconnect() never connects with the token of the former user, whenever it comes', async (stage, t) => {
  for (let ticks = 0; ticks < 16; ticks++) {
    const calls: CredentialRequest[] = []
    const socket = stage.connect({
      token: async (request) => {
        const user = `user-${calls.push(request)}`
        await null
        return user
      }
    })
    for (let i = 0; i < ticks; i++) await null
    const before = calls.length
    const sockets = stage.sockets.length
    socket.reconnect()
    await stage.flush()
    const sent = stage.sockets.slice(sockets).map(({ protocols }) => protocols.at(-1))
    t.strictSame(sent, [`user-${before + 1}`], `${ticks} ticks`)
    t.equal(calls.length, before + 1, `${ticks} ticks`)
    socket.close()
  }
})

story('a call that was superseded ends no other one', async (stage, t) => {
  for (let ticks = 0; ticks < 16; ticks++) {
    let live = 0
    let most = 0
    const create = stage.classOf({
      token: async ({ signal }) => {
        most = Math.max(most, ++live)
        await new Promise<void>((resolve) => { signal.addEventListener('abort', resolve); stage.clock.setTimeout(resolve, 50) })
        live--
        return `token-${most}`
      }
    })
    create()
    await stage.advance(50)
    const first = stage.socket
    first.accept({ expiresIn: 60_000 })
    first.frame('auth.renew', { expiresIn: 30_000 })
    await stage.flush()
    create()
    for (let i = 0; i < ticks; i++) await null
    // It ends the call, and the next instance asks anew.
    first.drop(3000, 'token_expired')
    create()
    await stage.flush()
    create()
    await stage.flush()
    t.ok(most <= 1, `${most} calls at a time after ${ticks} ticks`)
    await stage.advance(200)
  }
})
