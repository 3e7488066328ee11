/*
 * A page with sockets of the client, each with a name, and what it writes down about them.
 */
import type { End, State } from '../../lib/client/index'
import { eventually } from './browser'
import type { Tab } from './engines'

export const CLIENT_PAGE = '<!doctype html><title>client</title><link rel="icon" href="data:,"><div id="root"></div><script type="module" src="/page.js"></script>'

/**
 * `connectAs(name, url, options)` opens a socket. `options.lives` are the lives of the tokens that it gets one after the other, in
 * seconds; the last one counts for all further ones. `null` says that no user is logged in, and 'fail' is an error. Without `lives`
 * there is no function for tokens.
 */
const SHARED_SCRIPT = `
  import { connect } from '/client.mjs'

  const kept = new Map()

  globalThis.connectAs = (name, url, { lives, sub = 'ann', ...options } = {}) => {
    const record = { events: [], states: [], calls: [] }
    const token = async ({ why, code, signal }) => {
      record.calls.push(code === null ? why : why + ' ' + code)
      const life = lives.length > 1 ? lives.shift() : lives[0]
      if (life === null) return null
      if (life === 'fail') throw new Error('no token today')
      const response = await fetch('/token?life=' + life + '&sub=' + sub, { method: 'POST', signal })
      return await response.json()
    }
    const socket = connect(url, { ...options, ...(lives === undefined ? {} : { token }) })
    keep(name, socket, record)
  }

  globalThis.keep = (name, socket, record = { events: [], states: [], calls: [] }) => {
    kept.set(name, { socket, record })
    const note = (event) => { record.events.push(event.trim()) }
    const noteState = () => {
      const { status, why } = socket.state
      record.states.push(why === undefined ? status : status + ' ' + why)
    }
    socket.onopen = () => note('open')
    socket.onmessage = ({ data }) => note('message ' + data)
    socket.onclose = ({ code, reason }) => note('close ' + code + ' ' + reason)
    socket.onerror = ({ error }) => note('error ' + error.reason)
    socket.subscribe(noteState)
    noteState()
  }

  globalThis.socketOf = (name) => kept.get(name).socket
  globalThis.reportOf = (name) => {
    const { socket, record } = kept.get(name)
    const { state } = socket
    const end = state.end ? { ...state.end, error: state.end.error && String(state.end.error) } : state.end
    return { ...record, state: { ...state, end } }
  }
`

/** The script of the page. It also writes down how the page went away and came back. */
export const PAGE_SCRIPT = `${SHARED_SCRIPT}
  globalThis.pageEvents = []
  for (const type of ['pagehide', 'pageshow']) addEventListener(type, ({ persisted }) => pageEvents.push(persisted ? type + ' persisted' : type))
  for (const type of ['online', 'offline']) addEventListener(type, () => pageEvents.push(type))
  for (const type of ['freeze', 'resume']) document.addEventListener(type, () => pageEvents.push(type))

  /** Has a worker open a socket. */
  globalThis.connectInWorker = (kind, name, url, options) => {
    const worker = kind === 'shared' ? new SharedWorker('/worker.js', { type: 'module' }).port : new Worker('/worker.js', { type: 'module' })
    globalThis.askWorker = (call, ...parameters) => new Promise((resolve) => {
      worker.onmessage = ({ data }) => resolve(data)
      worker.postMessage([call, ...parameters])
    })
    return askWorker('connectAs', name, url, options)
  }
  globalThis.isReady = true
`

/** The script of a worker of either kind: it runs what it is told, and sends back what that returns. */
export const WORKER_SCRIPT = `${SHARED_SCRIPT}
  globalThis.sendAs = (name, text) => socketOf(name).send(text)
  const listen = (port) => { port.onmessage = ({ data: [call, ...parameters] }) => port.postMessage(globalThis[call](...parameters) ?? null) }
  if ('onconnect' in globalThis) onconnect = ({ ports: [port] }) => listen(port)
  else listen(globalThis)
`

/** What a page knows of a socket. */
export interface Report {
  /** `open`, `message <data>`, `close <code> <reason>` and `error <message>`. */
  readonly events: readonly string[]
  readonly states: readonly string[]
  /** The calls of the function for tokens: `why`, and the code. */
  readonly calls: readonly string[]
  readonly state: State & { readonly end?: End | null }
}

/** Options of `connect()` that JSON carries, and the lives of the tokens. */
export interface PageOptions {
  readonly lives?: ReadonlyArray<number | 'fail' | null>
  readonly sub?: string
  readonly [name: string]: unknown
}

/** A socket of a page. */
export class PageClient {
  readonly #tab: Tab
  readonly #name: string

  constructor (tab: Tab, name: string) {
    this.#tab = tab
    this.#name = name
  }

  async report (): Promise<Report> {
    return await this.#tab.run(`reportOf(${JSON.stringify(this.#name)})`)
  }

  /** Resolves to the report when it is so. */
  async until (isTrue: (report: Report) => boolean, what: string): Promise<Report> {
    let report: Report | undefined
    // A page that is on its way back has nothing yet.
    await eventually(async () => {
      report = await this.report().catch(() => report)
      return report !== undefined && isTrue(report)
    }, what).catch((error: Error) => { throw new Error(`${error.message}: ${JSON.stringify(report)}`) })
    return report as Report
  }

  /** Resolves when the socket was opened so many times. */
  async opened (times = 1): Promise<Report> {
    return await this.until(({ events, state }) => state.status === 'open' && count(events, 'open') >= times, `open ${times} times`)
  }

  /** Resolves when the socket is in this state. */
  async is (status: State['status']): Promise<Report> {
    return await this.until(({ state }) => state.status === status, status)
  }

  async send (text: string): Promise<void> {
    await this.#call('send', text)
  }

  /** Sends a message, and resolves when it has come back. */
  async echo (text: string): Promise<void> {
    await this.is('open')
    await this.send(text)
    await this.until(({ events }) => events.includes(`message ${text}`), `the echo of ${text}`)
  }

  async close (): Promise<void> {
    await this.#call('close')
  }

  async reconnect (): Promise<void> {
    await this.#call('reconnect')
  }

  async #call (method: string, ...parameters: unknown[]): Promise<void> {
    await this.#tab.run(`void socketOf(${JSON.stringify(this.#name)}).${method}(...${JSON.stringify(parameters)})`)
  }
}

/** Opens a socket in a page. */
export async function connectIn (tab: Tab, url = '/ws', options: PageOptions = { lives: [60] }, name = 'socket'): Promise<PageClient> {
  await eventually(async () => await tab.run<boolean | null>('globalThis.isReady ?? null') === true, 'the script of the page has run')
  await tab.run(`void connectAs(...${JSON.stringify([name, url, options])})`)
  return new PageClient(tab, name)
}

/** How often something is in a list. */
export function count (list: readonly string[], text: string): number {
  return list.filter((each) => each === text).length
}
