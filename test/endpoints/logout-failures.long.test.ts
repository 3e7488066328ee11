/*
 * The backplane or a function of the app fails: the logout can be tried again.
 */
import t from 'tap'
import fastifyWsAuth from '../../lib/index'
import { accessToken, countIn, INVALID, isClosed, JWT, LOGGED_OUT, logOut, logoutToken, memoryBackplane, privateKey, publicKey, reasonsIn, refusalOf, REVOKED, startClient, TRY_AGAIN } from '../helpers/logout-chat'
import type { Plugin } from '../helpers/logout-chat'
import type { Chat } from '../helpers/renewal-app'

type Failing = 'put' | 'get' | 'take' | 'publish'

/** What fails by itself, in one of the ways in which something can, until it is repaired. */
class FailingBackplane implements fastifyWsAuth.Backplane {
  readonly #backplane = memoryBackplane()
  broken: readonly Failing[] = []
  isSync = false

  join (member: fastifyWsAuth.BackplaneMember): fastifyWsAuth.BackplaneLink {
    const link = this.#backplane.join(member)
    return {
      ready: link.ready,
      isCurrent: true,
      publish: async (command) => await this.#or('publish', () => link.publish(command)),
      put: (name, value, ttl) => this.#or('put', () => link.put(name, value, ttl)),
      get: (name) => this.#or('get', () => link.get(name)),
      take: (name) => this.#or('take', () => link.take(name)),
      leave: async () => await link.leave()
    }
  }

  #or<T> (what: Failing, run: () => T): T | Promise<never> {
    if (!this.broken.includes(what)) return run()
    const error = new Error('the store is down')
    if (this.isSync && what !== 'publish') throw error
    return Promise.reject(error)
  }
}

t.test('a logout can be tried again if the backplane fails', async (t) => {
  const all: Failing[] = ['put', 'get', 'take', 'publish']
  for (const broken of [all, ['put'], ['publish'], ['publish', 'take'], ['publish', 'put'], ['get', 'take']] as Failing[][]) {
    for (const isSync of [false, true]) {
      t.test(`a logout closes the connections although the backplane fails in ${broken.join(', ')}${isSync ? ', by throwing' : ''}`, async (t) => {
        const backplane = new FailingBackplane()
        const [one, another] = [await startClient(t, { plugin: { backplane } }), await startClient(t, { plugin: { backplane } })]
        const chats = [await one.connect(accessToken()), await another.connect(accessToken())]
        const token = logoutToken()
        Object.assign(backplane, { broken, isSync })
        const answer = await logOut(one.port, token)
        t.same(await isClosed(chats[0] as Chat), REVOKED, 'what is open here is closed all the same')
        t.equal(await refusalOf(one.port, accessToken()), 'WS_AUTH_TOKEN_REVOKED')
        backplane.broken = []
        if (broken.includes('put') || broken.includes('publish')) {
          t.same(answer, TRY_AGAIN)
          t.equal(countIn(one.log, '"msg":"back-channel logout failed"'), 1)
          t.same(await logOut(one.port, token), LOGGED_OUT)
        } else {
          t.same(answer, LOGGED_OUT, 'what is asked of it is known later than it is needed')
        }
        t.same(await isClosed(chats[1] as Chat), REVOKED)
        t.same(await logOut(another.port, token), INVALID, 'and then once')
      })
    }
  }
})

t.test('a logout is reported as a failure and can be tried again if a function of the app fails', async (t) => {
  const token = logoutToken()
  const error = new Error(`no answer about ${token}`)
  const fail = (): never => { throw error }
  const settings: Record<string, (isBroken: () => boolean) => Plugin> = {
    'a secret function': (isBroken) => ({ jwt: { ...JWT, secret: { public: async () => isBroken() ? fail() : publicKey, private: privateKey } } }),
    trusted: (isBroken) => ({ jwt: { ...JWT, trusted: async () => isBroken() ? fail() : true } }),
    formatUser: (isBroken) => ({ jwt: { ...JWT, formatUser: (claims) => isBroken() ? fail() : claims } }),
    'a synchronous verify': (isBroken) => ({ verify: () => isBroken() ? fail() : JSON.parse(String(Buffer.from(token.split('.')[1] ?? '', 'base64url'))) }),
    'an asynchronous verify': (isBroken) => ({ verify: async () => isBroken() ? fail() : JSON.parse(String(Buffer.from(token.split('.')[1] ?? '', 'base64url'))) })
  }
  for (const [name, plugin] of Object.entries(settings)) {
    t.test(`a logout can be tried again if ${name} fails`, async (t) => {
      let isBroken = true
      const { port, log } = await startClient(t, { plugin: plugin(() => isBroken) })
      t.same(await logOut(port, token), TRY_AGAIN)
      t.equal(countIn(log, 'no answer about [token]'), 1)
      isBroken = false
      t.same(await logOut(port, token), LOGGED_OUT)
      t.equal(countIn(log, token), 0)
    })
  }

  t.test('a verify that never answers fails the logout after handshakeTimeout, and its signal is aborted', async (t) => {
    let signal: AbortSignal | undefined
    const { port } = await startClient(t, { plugin: { handshakeTimeout: 100, verify: async (_token, _request, asker) => { signal = asker.signal; return await new Promise(() => {}) } } })
    t.same(await logOut(port, token), TRY_AGAIN)
    t.equal(signal?.aborted, true)
  })

  t.test('the log has the cause of a refusal by verify', async (t) => {
    const verify = (): never => { throw new fastifyWsAuth.WsAuthError('WS_AUTH_TOKEN_REVOKED', { cause: new Error('it is on a list') }) }
    const { port, log } = await startClient(t, { plugin: { verify } })
    t.same(await logOut(port, token), INVALID)
    t.same(reasonsIn(log), ['it is on a list'])
  })

  t.test('the log names the code if verify refuses without a cause', async (t) => {
    const verify = (): never => { throw new fastifyWsAuth.WsAuthError('WS_AUTH_TOKEN_REVOKED') }
    const { port, log } = await startClient(t, { plugin: { verify } })
    t.same(await logOut(port, token), INVALID)
    t.same(reasonsIn(log), ['WS_AUTH_TOKEN_REVOKED'])
  })

  t.test('a logout token that trusted refuses is refused', async (t) => {
    const { port } = await startClient(t, { plugin: { jwt: { ...JWT, trusted: () => false } } })
    t.same(await logOut(port, token), INVALID)
  })
})
