/*
 * A real Firefox as its maker ships it, driven over WebDriver BiDi (https://w3c.github.io/webdriver-bidi/). Playwright drives only a
 * Firefox of its own.
 */
import { spawn } from 'node:child_process'
import type { ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { WebSocket } from 'ws'
import type { Engine, Tab, Teardown } from './engines'
import { tie } from './example'

export const FIREFOX = process.env.FIREFOX_PATH || '/usr/bin/firefox-esr'
const START_TIMEOUT = 60_000
/** Nothing that is loaded at a first start, and no request to another host. What a page can notice stays as it is. */
const PREFERENCES = {
  'app.normandy.enabled': false,
  'browser.aboutwelcome.enabled': false,
  'browser.newtabpage.enabled': false,
  'browser.safebrowsing.update.enabled': false,
  'browser.shell.checkDefaultBrowser': false,
  'browser.startup.page': 0,
  'datareporting.policy.dataSubmissionEnabled': false,
  'extensions.systemAddon.update.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'services.settings.server': 'http://127.0.0.1:9/',
  'toolkit.telemetry.enabled': false
}

/** The results of all commands that are used here. */
interface Result {
  readonly capabilities: { readonly browserVersion: string }
  readonly userContext: string
  readonly context: string
  readonly result: { readonly value?: string }
  readonly exceptionDetails?: { readonly text: string }
}

interface Answer {
  readonly type: 'success' | 'error' | 'event'
  readonly id?: number
  readonly result: Result
  readonly error?: string
  readonly message?: string
}

/** A session of WebDriver BiDi. */
class Session {
  readonly #socket: WebSocket
  readonly #calls = new Map<number, [resolve: (result: Result) => void, reject: (error: Error) => void]>()
  #ids = 0

  constructor (socket: WebSocket) {
    this.#socket = socket
    socket.on('message', (data: Buffer) => this.#onMessage(JSON.parse(data.toString()) as Answer))
    socket.on('close', () => { for (const [, reject] of this.#calls.values()) reject(new Error('Firefox has ended')) })
  }

  /** Sends a command. @throws if it fails */
  async send (method: string, params: object): Promise<Result> {
    return await new Promise((resolve, reject) => {
      this.#calls.set(++this.#ids, [resolve, reject])
      this.#socket.send(JSON.stringify({ id: this.#ids, method, params }))
    })
  }

  #onMessage ({ type, id = 0, result, error, message }: Answer): void {
    const [resolve, reject] = this.#calls.get(id) ?? []
    this.#calls.delete(id)
    if (type === 'error') reject?.(new Error(`${error}: ${message}`))
    else resolve?.(result)
  }
}

/** Starts a Firefox with a profile of its own; both go away with the test. Each page has a window, so that all of them can be seen. */
export async function startFirefox (t: Teardown): Promise<Engine> {
  if (!existsSync(FIREFOX)) throw new Error(`there is no Firefox at ${FIREFOX}`)
  const profile = await mkdtemp(join(tmpdir(), 'fastify-ws-auth-firefox-'))
  await writeFile(join(profile, 'user.js'), Object.entries(PREFERENCES).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)})\n`).join(''))
  const child = spawn(FIREFOX, ['--headless', '--no-remote', '--remote-debugging-port', '0', '--profile', profile], { detached: true, stdio: ['ignore', 'ignore', 'pipe'] })
  tie(child, child.pid && -child.pid)
  t.teardown(async () => {
    const exit = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : null
    if (exit !== null && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    await exit
    await rm(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  })
  const socket = new WebSocket(`${await readEndpoint(child)}/session`)
  await once(socket, 'open')
  t.teardown(() => socket.terminate())
  const session = new Session(socket)
  const { capabilities } = await session.send('session.new', { capabilities: {} })
  return {
    name: 'Firefox',
    version: capabilities.browserVersion,
    hasManyPages: true,
    open: async (t, url) => {
      const { userContext } = await session.send('browser.createUserContext', {})
      t.teardown(async () => { await session.send('browser.removeUserContext', { userContext }).catch(() => {}) })
      return await openTab(session, userContext, url)
    }
  }
}

async function readEndpoint (child: ChildProcessByStdio<null, null, Readable>): Promise<string> {
  const timer = setTimeout(() => child.stderr.destroy(new Error('Firefox did not start in time')), START_TIMEOUT)
  try {
    let output = ''
    for await (const chunk of child.stderr.iterator({ destroyOnReturn: false })) {
      output += chunk
      const endpoint = /WebDriver BiDi listening on (ws:\S+)/.exec(output)?.[1]
      if (endpoint !== undefined) return endpoint
    }
    throw new Error(`Firefox ended before it listened:\n${output}`)
  } finally {
    clearTimeout(timer)
    child.stderr.resume()
  }
}

async function openTab (session: Session, userContext: string, url: string): Promise<Tab> {
  const { context } = await session.send('browsingContext.create', { type: 'window', userContext })
  const tab: Tab = {
    goto: async (url) => { await session.send('browsingContext.navigate', { context, url, wait: 'complete' }) },
    back: async () => { await session.send('browsingContext.traverseHistory', { context, delta: -1 }) },
    run: async (expression) => {
      const { result, exceptionDetails } = await session.send('script.evaluate', {
        expression: `(async () => JSON.stringify(await (${expression})))()`,
        target: { context },
        awaitPromise: true
      })
      if (exceptionDetails !== undefined) throw new Error(exceptionDetails.text)
      return result.value === undefined ? undefined : JSON.parse(result.value)
    },
    sibling: async (url) => await openTab(session, userContext, url),
    setOffline: async (isOffline) => {
      await session.send('emulation.setNetworkConditions', { contexts: [context], networkConditions: isOffline ? { type: 'offline' } : null })
    },
    close: async () => { await session.send('browsingContext.close', { context }) }
  }
  await tab.goto(url)
  return tab
}
