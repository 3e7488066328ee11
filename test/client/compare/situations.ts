/*
 * Fifteen situations in the life of a connection. Each is the same for all libraries; the text that it returns is what the user of a library
 * sees, with counts.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { Host } from './host'
import type { Client, Library } from './library'
import { comeOnline } from './page'
import { Tokens } from './tokens'
import { about, amount, busiest, list, seconds } from './words'

/** A library in a situation. */
export class Stage {
  readonly library: Library
  readonly host: Host
  readonly tokens = new Tokens()
  readonly #clients: Client[] = []

  constructor (library: Library, closesIdle = false) {
    this.library = library
    this.host = new Host(library.attach, closesIdle)
  }

  open (): Client {
    const client = this.library.open(this.host, this.tokens)
    this.#clients.push(client)
    return client
  }

  /** Opens a client, and forgets what has happened so far. */
  async openFirst (): Promise<Client> {
    const client = this.open()
    await this.until(() => this.isOpen && client.told.length > 0, 10_000)
    client.told.length = this.host.handshakes.length = this.host.requests = this.tokens.calls = 0
    return client
  }

  get isOpen (): boolean { return this.host.connected.length > 0 }

  /** Waits until something is true, or so many milliseconds. @returns the time that it took, or `null` */
  async until (isTrue: () => boolean, most: number): Promise<number | null> {
    for (const start = Date.now(); ; await pause(10)) {
      if (isTrue()) return Date.now() - start
      if (Date.now() - start > most) return null
    }
  }

  /** What the user sees, and the counts. */
  async report (client: Client, more = '', countCalls = amount): Promise<string> {
    // The server may know before the client.
    await pause(500)
    const { isOpen, host, tokens } = this
    const state = isOpen ? 'open' : client.hasStopped() ? 'stopped' : 'not open'
    const told = list(client.told)
    const counts = [amount(host.handshakes.length, 'handshake'), countCalls(tokens.calls, 'token call'), ...host.requests > 0 ? [amount(host.requests, 'dry run')] : []]
    return [`**${state}**${more}`, told === '' ? 'told nothing' : told, counts.join(', ')].join('; ')
  }

  async close (): Promise<void> {
    for (const client of this.#clients) client.close()
    await Promise.race([this.host.close(), pause(2000)])
  }
}

export interface Situation {
  readonly name: string
  /** What happens, for the table. */
  readonly title: string
  /** Whether an event of the page comes, which reaches all clients of the process. */
  readonly hasPageEvent?: boolean
  readonly isIdle?: boolean
  readonly isFull?: boolean
  readonly run: (stage: Stage) => Promise<string>
}

const refused = (mode: 'foreign' | 'good', roles: readonly string[]) => async (stage: Stage): Promise<string> => {
  Object.assign(stage.tokens, { mode, roles })
  const client = stage.open()
  await pause(15_000)
  return await stage.report(client, ' after 15 s')
}

export const situations: readonly Situation[] = [
  {
    name: 'expiry',
    title: 'The token lives 6 s, and the connection is watched for 10 s',
    async run (stage) {
      stage.tokens.life = 6
      const client = await stage.openFirst()
      await pause(9500)
      return await stage.report(client, '', about)
    }
  },
  {
    name: 'expired',
    title: 'The first token comes from a cache and has expired, the next one is good',
    async run (stage) {
      Object.assign(stage.tokens, { mode: 'expired', times: 1 })
      const client = stage.open()
      await pause(10_000)
      return await stage.report(client)
    }
  },
  { name: 'unauthorized', title: 'Each token is refused (401)', run: refused('foreign', ['member']) },
  { name: 'forbidden', title: 'The user may not connect (403)', run: refused('good', []) },
  {
    name: 'down',
    title: 'The token endpoint fails for 5 s',
    async run (stage) {
      stage.tokens.mode = 'down'
      const client = stage.open()
      await pause(5000)
      stage.tokens.mode = 'good'
      const took = await stage.until(() => stage.isOpen, 15_000)
      return await stage.report(client, took === null ? '' : ` ${seconds(took)} after it works`)
    }
  },
  {
    name: 'hanging',
    title: 'The first call of the token endpoint is never answered',
    async run (stage) {
      Object.assign(stage.tokens, { mode: 'hanging', times: 1 })
      const client = stage.open()
      const took = await stage.until(() => stage.isOpen, 20_000)
      return await stage.report(client, took === null ? ' after 20 s' : ` after ${seconds(took)}`)
    }
  },
  {
    name: 'restart',
    title: 'The server of 50 clients restarts, and is away for a second',
    async run (stage) {
      const { host, tokens } = stage
      for (let i = 0; i < 50; i++) stage.open()
      await stage.until(() => host.connected.length === 50, 20_000)
      await host.stop()
      await stage.until(() => !stage.isOpen, 5000)
      host.handshakes.length = host.openedAt.length = tokens.calls = 0
      await pause(1000)
      const start = Date.now()
      await host.start()
      const took = await stage.until(() => host.connected.length === 50, 15_000)
      const back = took === null ? `**${host.connected.length} of 50 back** after 15 s` : `**all back** within ${seconds(took)}`
      return `${back}; ~${busiest(host.openedAt.map((at) => at - start), 250)} in the busiest quarter of a second; ${tokens.calls === 0 ? 'no token call' : amount(tokens.calls, 'token call')}`
    }
  },
  {
    name: 'black hole',
    title: 'The connection is lost and neither side is told; the device is `online` 6 s later',
    hasPageEvent: true,
    async run (stage) {
      const client = await stage.openFirst()
      const before = stage.host.openedAt.length
      stage.host.loseConnections()
      await pause(6000)
      comeOnline()
      const took = await stage.until(() => stage.host.openedAt.length > before, 44_000)
      await pause(500)
      return `${took === null ? '**not noticed** within 50 s' : `**open again** after ${seconds(took + 6000)}`}; ${list(client.told) || 'told nothing'}`
    }
  },
  {
    name: 'logout',
    title: 'The user is logged out on the server, and has no next token',
    async run (stage) {
      const client = await stage.openFirst()
      stage.tokens.mode = 'logged out'
      await stage.host.logOut('ann')
      await pause(10_000)
      return await stage.report(client, ' after 10 s')
    }
  },
  {
    name: 'superseded',
    title: 'The token of ann takes 2 s; meanwhile bea logs in, and the app connects anew',
    async run (stage) {
      const { host, tokens } = stage
      tokens.delay = 2000
      const client = stage.open()
      await pause(1000)
      Object.assign(tokens, { sub: 'bea', delay: 5 })
      client.switchUser()
      await pause(8000)
      return `**${host.connected.length === 0 ? 'nobody is connected' : `${host.connected.join(' and ')} is connected`}**; ${amount(host.handshakes.length, 'handshake')}, ${amount(tokens.calls, 'token call')}`
    }
  },
  {
    name: 'messages',
    title: 'The app sends 40 messages in 2 s, and the server is away for the second one',
    async run (stage) {
      const client = await stage.openFirst()
      let thrown = 0
      const restart = pause(500).then(async () => {
        await stage.host.stop()
        await pause(1000)
        await stage.host.start()
      })
      const sent: string[] = []
      for (let i = 0; i < 40; i++) {
        try {
          client.send(String(i))
          sent.push(String(i))
        } catch {
          thrown++
        }
        await pause(50)
      }
      await restart
      const { messages } = stage.host
      await stage.until(() => messages.length >= sent.length, 10_000)
      const lost = sent.filter((text) => !messages.includes(text)).length
      const isInOrder = messages.every((text, i) => i === 0 || Number(messages[i - 1]) < Number(text))
      return `**${thrown > 0 ? `~${thrown} throw` : 'none throws'}**, ~${lost} of the others lost on the way; ${messages.length > new Set(messages).size ? 'some come twice, ' : ''}${isInOrder ? 'in order' : 'out of order'}`
    }
  },
  {
    name: 'clock',
    title: 'The clock of the device is an hour ahead; the token lives 6 s, for 10 s',
    async run (stage) {
      const child = fork(require.resolve('./ahead'), [stage.library.name, String(stage.host.port)])
      const [report] = await Promise.race([once(child, 'message'), once(child, 'exit').then(() => { throw new Error('the process has failed') })]) as [{ told: string[], calls: number }]
      const isOpen = stage.isOpen
      child.kill()
      const { told, calls } = report
      return `**${isOpen ? 'open' : 'not open'}**; ${list(told) || 'told nothing'}; ${amount(stage.host.handshakes.length, 'handshake')}, ${about(calls, 'token call')}`
    }
  },
  {
    name: 'later',
    title: 'The server answers 503 with `Retry-After: 4` for 4 s',
    async run (stage) {
      stage.host.gate = { status: 503, retryAfter: 4 }
      const client = stage.open()
      await pause(4000)
      const early = stage.host.handshakes.length
      stage.host.gate = null
      const took = await stage.until(() => stage.isOpen, 10_000)
      return `${await stage.report(client, took === null ? '' : ` ${seconds(took)} later`)}; ${early === 1 ? 'none' : `~${early - 1}`} of them too early`
    }
  },
  {
    name: 'limit',
    title: 'The user has too many connections (429) for 6 s',
    isFull: true,
    async run (stage) {
      const { host, tokens, library } = stage
      const release = await library.takePlace?.(host, (await tokens.get()).token)
      host.handshakes.length = tokens.calls = 0
      const client = stage.open()
      await pause(6000)
      const early = host.handshakes.length
      release?.()
      host.isFull = false
      if (release !== undefined) await stage.until(() => !stage.isOpen, 2000)
      const took = await stage.until(() => stage.isOpen, 15_000)
      return `${await stage.report(client, took === null ? ' 15 s after it is over' : ` ${seconds(took)} after it is over`)}; ~${early} while full`
    }
  },
  {
    name: 'idle',
    title: 'The server closes idle connections (2 s, reason `idle`); the app sends after 8 s',
    isIdle: true,
    async run (stage) {
      const client = await stage.openFirst()
      await pause(8000)
      const quiet = stage.host.handshakes.length
      let isThrown = false
      try {
        client.send('hello')
      } catch {
        isThrown = true
      }
      await stage.until(() => stage.host.messages.length > 0, isThrown ? 1000 : 8000)
      return `${quiet === 0 ? 'no handshake' : amount(quiet, 'handshake')} while idle; ${list(client.told)}; the send ${isThrown ? 'throws' : stage.host.messages.length > 0 ? 'arrives' : 'is lost'}`
    }
  }
]

/** What the user of a library sees in a situation. */
export async function observe (library: Library, { name, run, isIdle = false, isFull = false }: Situation): Promise<string> {
  const reason = library.without?.[name]
  if (reason !== undefined) return `does not exist: ${reason}`
  const stage = new Stage(library, isIdle)
  stage.host.isFull = isFull
  await stage.host.start()
  try {
    return await run(stage)
  } finally {
    await stage.close()
  }
}
