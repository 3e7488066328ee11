/*
 * How open connections end, by a real server, and what the client does next: all words and codes of words.ts.
 */
import type { FastifyInstance } from 'fastify'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { sign, start } from '../helpers/app'
import { watch } from '../helpers/client-socket'
import { CODES, DELAYS, TOLD, WORDS } from './words'
import type { Does } from './words'

interface End {
  readonly code: number
  readonly reason: string
  readonly does: Does
  /** Ends the connection of a user as an app, or the plugin, does it. Default: the handler closes the socket */
  readonly provoke?: (app: FastifyInstance, sub: string) => unknown
  readonly path?: string
  readonly life?: number
}

const does = (reason: string): Does => WORDS[reason] as Does

/** The ends that the plugin itself brings about. */
const OWN: readonly End[] = [
  { code: 3000, reason: 'token_expired', does: does('token_expired'), life: 4000, provoke: () => {} },
  { code: 3000, reason: 'token_revoked', does: does('token_revoked'), provoke: async (app, sub) => await app.wsAuth.revoke({ sid: `${sub} connect` }) },
  { code: 3000, reason: 'lifetime_exceeded', does: does('lifetime_exceeded'), path: '/short', provoke: () => {} },
  { code: 3003, reason: 'disconnected', does: does('disconnected'), provoke: async (app, sub) => await app.wsAuth.disconnect({ sub }) },
  { code: 4001, reason: 'a word of the app', does: 'retry', provoke: async (app, sub) => await app.wsAuth.disconnect({ sub }, { code: 4001, reason: 'a word of the app' }) },
  { code: 3003, reason: 'connection_replaced', does: does('connection_replaced'), provoke: (app, sub) => { void app.injectWS('/', { headers: { authorization: `Bearer ${sign({ sub })}` } }) } },
  { code: 1011, reason: 'internal_error', does: does('internal_error'), path: '/broken', provoke: () => {} }
]
/** All other words, in a close frame of the handler. */
const OTHERS = Object.keys(WORDS).filter((reason) => !OWN.some((end) => end.reason === reason) && reason !== 'shutdown').map((reason): End => {
  return { code: 4000, reason, does: does(reason) }
})
/** Words in the codes of the protocol itself are of a proxy or of the app. */
const FOREIGN: readonly End[] = [{ code: 1000, reason: 'forbidden', does: 'retry' }, { code: 1011, reason: 'token_expired', does: 'retry' }]
const CLOSED = Object.entries(CODES).map(([code, does]): End => ({ code: Number(code), reason: '', does }))

async function startServer (t: Test): Promise<{ app: FastifyInstance, url: string }> {
  const { app, port } = await start(t, {
    plugin: { limits: { perUser: 1, onLimit: 'close-oldest' }, renewal: 'offered' },
    routes: (app) => {
      app.get('/', { websocket: true }, (socket) => {
        socket.on('message', (data) => {
          const { code, reason } = JSON.parse(String(data)) as End
          if (code === 1006) socket.terminate()
          else if (code === 1005) socket.close()
          else socket.close(code, reason)
        })
      })
      app.get('/short', { websocket: true, wsAuth: { maxLifetime: 300 } }, () => {})
      app.get('/broken', { websocket: true }, async () => {
        await new Promise((resolve) => setTimeout(resolve, 200))
        throw new Error('a bug of the app')
      })
    }
  })
  return { app, url: `ws://127.0.0.1:${port}` }
}

/** Which status comes after an open connection. */
const STATUS = { refuse: 'refused', idle: 'paused' } as const

t.test('after each end of an open connection the client does what the table of words says', async (t) => {
  const { app, url } = await startServer(t)
  const ends = [...OWN, ...OTHERS, ...FOREIGN, ...CLOSED]
  t.equal(new Set(ends.map(({ reason }) => reason).filter((reason) => WORDS[reason] !== undefined)).size, Object.keys(WORDS).length - 1, 'all words but shutdown')
  await Promise.all(ends.map(async (end, index) => {
    const { code, reason, does, provoke, path = '/', life = 60_000 } = end
    const sub = `user ${index}`
    const made = Math.ceil((Date.now() + life) / 1000)
    const { socket, next, calls, handshakes, events } = watch(t, url + path, ({ why }) => {
      // The client may not renew that token.
      if (why === 'renew') throw new Error('the endpoint is down')
      return sign({ sub, sid: `${sub} ${why}`, exp: why === 'rejected' ? made + 60 : made })
    })
    await socket.opened
    if (provoke === undefined) socket.send(JSON.stringify(end))
    else await provoke(app, sub)
    const status = does === 'refuse' || does === 'idle' ? STATUS[does] : 'waiting'
    const state = await next(status)
    const [least, most] = DELAYS[does] ?? [0, 0]
    const { delay = 0 } = state as { readonly delay?: number }
    const before = calls.filter(({ why }) => why !== 'renew').length
    t.match([state.end, handshakes(), before], [{ code, reason, wasOpen: true }, 1, 1], `${code} ${reason}: ${does}`)
    t.ok(delay >= least && delay <= most, `${code} ${reason}: from ${least} to ${most} ms, now ${delay}`)
    const line = `close ${code} ${reason}`.trimEnd()
    t.strictSame(events.filter((event) => !event.startsWith('message') && event !== 'error undefined'), does === 'refuse' ? ['open', line, `error ${reason}`] : ['open', line])
    if (does === 'ask' || does === 'anew') {
      await socket.opened
      const asked = calls.slice(before).filter(({ why }) => why !== 'renew')
      t.match(asked, does === 'ask' ? [{ why: 'rejected', code: `WS_AUTH_${reason.toUpperCase()}` }] : [], `${reason}: what is asked next`)
      t.equal(asked.length, does === 'ask' ? 1 : 0)
    }
    socket.close()
  }))
})

t.test('idle comes back when there is something to send, and not before', async (t) => {
  const { url } = await startServer(t)
  const { socket, next, handshakes, calls } = watch(t, url, () => sign({ sub: 'ann' }), { queue: 1000 })
  await socket.opened
  socket.send(JSON.stringify({ code: 4000, reason: 'idle' }))
  t.match(await next('paused'), { why: 'idle' })
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.equal(handshakes(), 1)
  socket.send(JSON.stringify({ code: 4000, reason: 'forbidden' }))
  t.match(await next('refused'), { end: { reason: 'forbidden' } })
  t.strictSame([handshakes(), calls.length], [2, 1])
})

t.test('after shutdown the token is kept, and auth.retry says within which time to come back', async (t) => {
  const { app, url } = await startServer(t)
  const { socket, next, calls } = watch(t, url, () => sign({ sub: 'ann' }), { retry: { crowd: 1 } })
  await socket.opened
  await app.close()
  const { end, delay } = await next('waiting')
  t.match(end, { code: 1001, reason: 'shutdown', wasOpen: true })
  t.ok(delay > 1 && delay < 5000, `${delay} ms: the server said 5000, and not the option`)
  t.equal(calls.length, 1)
})

t.test('the close code of a word may be another, and shouldReconnect has the last word', async (t) => {
  const { url } = await startServer(t)
  const asked: unknown[] = []
  const { socket, next, states } = watch(t, url, () => sign({ sub: 'ann' }), {
    shouldReconnect: (end) => {
      asked.push(end.reason)
      return end.reason === 'forbidden' ? true : end.reason === 'shutdown' ? false : undefined
    },
    retry: { base: 1 }
  })
  for (const reason of ['forbidden', 'lifetime_exceeded', 'shutdown']) {
    await socket.opened
    const from = states.length
    socket.send(JSON.stringify({ code: 4123, reason }))
    await next(reason === 'shutdown' ? 'refused' : 'waiting', from)
  }
  t.strictSame(asked, ['forbidden', 'lifetime_exceeded', 'shutdown'])
})

t.test('the table of the document is the table of words', async (t) => {
  const [, section = ''] = readFileSync(join(process.cwd(), 'lib/client/README.md'), 'utf8').split('\n## What it does after each end\n')
  const rows = [...section.split('\n## ', 1)[0]?.matchAll(/^\| (.*) \| (.*) \|$/gm) ?? []].slice(1).map(([, words = '', told = '']) => ({ words, told }))
  for (const [word, does] of [...Object.entries(WORDS), ...Object.entries(CODES)]) {
    const row = rows.find(({ words }) => words.includes(`\`${word}\``) || words.split(/[ ,]+/).includes(word)) ?? rows.at(-1)
    t.match(row?.told, TOLD[does], `${word}: ${does}`)
  }
  const words = rows.flatMap(({ words }) => [...words.matchAll(/`(\w+)`/g)].map(([, word]) => word))
  t.strictSame(words.filter((word) => !Object.hasOwn(WORDS, String(word))), [], 'no other word is in it')
})
