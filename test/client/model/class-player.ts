/*
 * One run of the model of `webSocketClass()`: a library makes instances, closes them and comes back, as the tape says.
 */
import { webSocketClass } from '../../../lib/client/index'
import type { WebSocketLike, WebSocketLikeClass } from '../../../lib/client/index'
import { FakeServer } from './fake-server'
import { Lab } from './lab'
import { Ledger } from './ledger'
import { ENDS } from './table'
import { Tape } from './tape'

/** Longer than two handshakes with all their deadlines may take, and a close without an answer. */
const LONGEST = 110_000

interface Instance {
  readonly socket: WebSocketLike
  readonly since: number
  /** What the library was told: `o` for open, `m` for a message, `e` for an error, `c` for close. */
  told: string
}

class ClassPlayer {
  readonly #tape: Tape
  readonly #lab = new Lab()
  readonly #ledger: Ledger
  readonly #server: FakeServer
  readonly #instances: Instance[] = []
  #Class!: WebSocketLikeClass

  constructor (bytes: Uint8Array, isVerbose: boolean) {
    this.#tape = new Tape(bytes)
    this.#ledger = new Ledger(this.#lab, isVerbose)
    this.#ledger.isShared = true
    this.#server = new FakeServer(this.#lab, this.#tape, this.#ledger)
    this.#lab.random = this.#tape.random
  }

  async play (): Promise<void> {
    const { token, create, fetch } = this.#server
    this.#lab.install()
    try {
      this.#Class = webSocketClass({ token, create, fetch, protocols: this.#tape.pick([[], 'own']), closeCodes: { unauthorized: 4401, forbidden: 4403 } })
      while (!this.#tape.isOver) {
        await this.#lab.flush()
        await this.#step()
        this.#check()
      }
      await this.#end()
    } finally {
      this.#lab.uninstall()
    }
  }

  async #step (): Promise<void> {
    const kind = this.#tape.draw(10)
    if (kind < 3) await this.#lab.clock.advance(this.#tape.pick([1, 50, 1000, 5000, 61_000]), () => this.#check())
    else if (kind < 6) this.#make()
    else if (kind === 6) this.#close()
    else this.#serve()
  }

  /** A library has few at a time. */
  #make (): void {
    if (this.#instances.filter(({ socket }) => socket.readyState < 2).length > 2) return
    const instance: Instance = { socket: new this.#Class('wss://example.com/chat', this.#tape.pick([[], 'other'])), since: this.#lab.clock.now, told: '' }
    for (const type of ['open', 'message', 'error', 'close']) instance.socket.addEventListener(type, (event: object) => this.#on(instance, type, event))
    this.#instances.push(instance)
  }

  #close (): void {
    const instance = this.#tape.pick(this.#instances)
    this.#ledger.note(() => `close ${this.#instances.indexOf(instance)}`)
    instance?.socket.close()
  }

  #serve (): void {
    const live = this.#lab.sockets.filter((socket) => socket.isLive && socket.readyState === 1)
    if (live.length === 0) return
    const socket = this.#tape.pick(live)
    const [code, reason] = this.#tape.pick(ENDS)
    const kind = this.#tape.draw(6)
    if (kind === 0) socket.message('hello')
    else if (kind === 1) this.#server.hint(socket)
    else if (kind === 2) socket.fail({ hasClose: this.#tape.draw(2) === 1 })
    else this.#server.end(socket, code, reason)
  }

  #on (instance: Instance, type: string, event: object): void {
    const ledger = this.#ledger
    ledger.note(() => `${this.#instances.indexOf(instance)} ${type}`)
    ledger.keepSecret({ ...event }, type)
    instance.told += type.charAt(0)
    ledger.must(/^(?:om*c?|e|ec)$/.test(instance.told), `an instance is told ${instance.told}`)
    const state = { o: [1], m: [1, 2], e: [3], c: [3] }[type.charAt(0)]
    ledger.must(state?.includes(instance.socket.readyState) === true, `${type} in the state ${instance.socket.readyState}`)
    if (this.#tape.draw(30) === 29) instance.socket.close()
  }

  #check (): void {
    const ledger = this.#ledger
    const open = this.#instances.filter(({ socket }) => socket.readyState < 3)
    ledger.must(this.#lab.sockets.filter((socket) => socket.isLive).length <= open.length, 'a socket without its instance')
    for (const { socket, told, since } of this.#instances) {
      ledger.must((socket.readyState === 3) === told.endsWith('c'), `the state ${socket.readyState}, and told ${told}`)
      ledger.must(socket.readyState !== 0 || this.#lab.clock.now - since <= LONGEST, 'an instance connects for ever')
    }
    if (ledger.violation !== null) throw new Error(`${ledger.violation}\n${ledger.log.join('\n')}`)
  }

  /** At last the library closes all; nothing is left then. */
  async #end (): Promise<void> {
    for (const { socket } of this.#instances) socket.close()
    for (const socket of this.#lab.sockets) if (!socket.isOver && socket.readyState === 2) this.#lab.clock.plan(50, () => socket.drop(1000))
    await this.#lab.clock.advance(200_000)
    this.#check()
    this.#ledger.must(this.#instances.every(({ socket }) => socket.readyState === 3), 'an instance is never closed')
    this.#ledger.must(this.#lab.clock.timersOfClient === 0, 'a timer is left')
    this.#check()
  }
}

/** Plays a tape. @throws with the story of it, if something is not as it must be */
export async function playClass (bytes: Uint8Array): Promise<void> {
  try {
    await new ClassPlayer(bytes, false).play()
  } catch {
    // The same story, told.
    await new ClassPlayer(bytes, true).play()
    throw new Error('it failed, and not when it was played again')
  }
}
