/*
 * The example over WebSockets: frames, limits, first messages, and what an admin is told.
 */
import { once } from 'node:events'
import t from 'tap'
import { WebSocket } from 'ws'
import { buildExample, startExample } from '../helpers/example'
import { closeOf, connect, cookieOf, TIMEOUT, tokenOf } from '../helpers/example-chat'

/** What a socket receives from now on. */
function framesOf (socket: WebSocket): string[] {
  const frames: string[] = []
  socket.on('message', (data) => frames.push(String(data)))
  return frames
}

/** Says something, and waits until the server has handed it on: whatever was said before has come by then. */
async function echoed (socket: WebSocket, frames = framesOf(socket)): Promise<void> {
  socket.send('{"type":"say","text":"still here"}')
  await received(socket, frames, 'still here')
}

/** Resolves when so many frames with a text have come. */
async function received (socket: WebSocket, frames: string[], text: string, count = 1): Promise<void> {
  const signal = AbortSignal.timeout(TIMEOUT)
  while (frames.filter((frame) => frame.includes(text)).length < count) await once(socket, 'message', { signal })
}

t.before(buildExample)
t.jobs = 3

t.test('the chat answers over a WebSocket', { buffered: true }, async (t) => {
  const { url } = await startExample(t)

  t.test('an unknown frame gets an error, and the connection stays open', async (t) => {
    const socket = connect(url, await cookieOf(url, 'ann'))
    const types: string[] = []
    socket.on('message', (data) => types.push((JSON.parse(String(data)) as { type: string }).type))
    await once(socket, 'message')
    const frames = ['{', 'null', '[]', '{"type":"say"}', '{"type":"say","text":7}', '{"type":"say","text":"  "}', JSON.stringify({ type: 'say', text: 'x'.repeat(501) })]
    for (const frame of frames) socket.send(frame)
    socket.send(Buffer.from('{"type":"say","text":"binary"}'))
    socket.send('{"type":"say","text":"fine"}')
    while (!types.includes('said')) await once(socket, 'message')
    t.same(types.filter((type) => type === 'error').length, frames.length + 1)
    socket.terminate()
  })

  t.test('the eleventh frame in five seconds closes with 1008 too_many_messages', async (t) => {
    const socket = connect(url, await cookieOf(url, 'bea'))
    await once(socket, 'message')
    for (let i = 0; i < 11; i++) socket.send('{"type":"say","text":"again"}')
    const [code, reason] = await once(socket, 'close')
    t.equal(`${code} ${reason}`, '1008 too_many_messages')
  })
})

t.test('connections of the chat are shown, limited and refused', { buffered: true }, async (t) => {
  t.jobs = 4

  t.test('the page of an admin gets the decisions of the server, and no token', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const cookies = { ann: await cookieOf(url, 'ann'), bea: await cookieOf(url, 'bea') }
    const member = connect(url, cookies.ann)
    const admin = new WebSocket(`${url.replace('http', 'ws')}/admins`, { headers: { cookie: cookies.bea } })
    const frames = { ann: framesOf(member), bea: framesOf(admin) }
    await Promise.all([received(member, frames.ann, 'online'), received(admin, frames.bea, 'online')])

    const refused = new WebSocket(`${url.replace('http', 'ws')}/members?token=a.b.c`, { origin: url })
    t.equal(await closeOf(refused), '3000 token_invalid')
    const accepted = new WebSocket(`${url.replace('http', 'ws')}/members`, ['bearer', await tokenOf(url, cookies.ann)])
    const answers = framesOf(accepted)
    await received(accepted, answers, 'welcome')
    accepted.send(JSON.stringify({ type: 'auth', token: await tokenOf(url, cookies.ann) }))
    await received(accepted, answers, 'auth.ok')
    accepted.close(1000)
    await received(admin, frames.bea, '"event":"closed"')

    const events = frames.bea.map((frame) => JSON.parse(frame) as { type: string, event: { event: string, code: string | null, sub: string | null, source: string, route: string } })
      .filter(({ type }) => type === 'event').map(({ event: { event, code, sub, source, route } }) => [event, code, sub, source, route].join(' '))
      .filter((event) => !event.includes('cookie'))
    t.same(events, [
      'refused WS_AUTH_TOKEN_INVALID  query /members',
      'accepted  ann subprotocol /members',
      'renewed  ann subprotocol /members',
      'closed  ann subprotocol /members'
    ])
    t.notMatch(frames.bea.join(''), /eyJ|a\.b\.c/)
    t.notMatch(frames.ann.join(''), /"type":"event"/)
    member.terminate()
    admin.terminate()
  })

  t.test('one connection more than a user may have closes the first of that user only', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const [ann, bea] = [await cookieOf(url, 'ann'), await cookieOf(url, 'bea')]
    const other = connect(url, bea)
    await once(other, 'message')
    const sockets: WebSocket[] = []
    const closes: string[] = []
    for (let i = 0; i <= 120; i++) {
      const socket = connect(url, ann)
      socket.once('close', (code, reason) => closes.push(`${i}: ${code} ${reason}`))
      sockets.push(socket)
      await once(socket, 'message')
    }
    const [first, second, ...rest] = sockets as [WebSocket, WebSocket, ...WebSocket[]]
    if (first.readyState !== WebSocket.CLOSED) await closeOf(first)
    await echoed(second)
    t.same(closes, ['0: 3003 connection_replaced'])
    t.equal(other.readyState, WebSocket.OPEN)
    for (const socket of [second, ...rest, other]) socket.terminate()
  })

  t.test('a client with many refusals does not flood the admins', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const admin = new WebSocket(`${url.replace('http', 'ws')}/admins`, { headers: { cookie: await cookieOf(url, 'bea') } })
    const told = framesOf(admin)
    const member = connect(url, await cookieOf(url, 'ann'))
    const answers = framesOf(member)
    await Promise.all([received(admin, told, 'online'), received(member, answers, 'online')])
    for (let i = 0; i < 60; i++) member.send('{"type":"auth","token":"a.b.c"}')
    await received(member, answers, 'auth.error', 60)
    await echoed(admin, told)
    const events = told.filter((frame) => frame.includes('renewal_refused'))
    t.ok(events.length > 0 && events.length < 60, `${events.length} events`)
    member.terminate()
    admin.terminate()
  })

  t.test('a handshake for a first message from another page is closed with 3003 origin_forbidden', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const socket = new WebSocket(`${url.replace('http', 'ws')}/members/first-message`, { origin: 'http://evil.example' })
    t.equal(await closeOf(socket), '3003 origin_forbidden')
  })

  t.test('a message before the login closes the connection, and the other users do not get it', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const listener = connect(url, await cookieOf(url, 'bea'))
    const heard = framesOf(listener)
    await once(listener, 'message')
    const socket = new WebSocket(`${url.replace('http', 'ws')}/members/first-message`)
    await once(socket, 'open')
    socket.send('{"type":"say","text":"who am I?"}')
    t.equal(await closeOf(socket), '3000 token_invalid')
    await echoed(listener, heard)
    t.notMatch(heard.join(''), 'who am I?')
    listener.terminate()
  })
})
