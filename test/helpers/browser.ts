/*
 * A real Chromium, driven over its DevTools protocol. It is started here and not by Playwright, so that its flags are
 * these and no others, and its process is one that we know.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess, ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { chromium } from 'playwright-core'
import type { Browser, Frame, JSHandle, Page } from 'playwright-core'
import type { Test } from 'tap'
import { tie } from './example'

const EXECUTABLE = process.env.CHROMIUM_PATH || '/usr/bin/chromium'
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync']
const START_TIMEOUT = 120_000
/** How long anything that is waited for may take, in milliseconds. */
const TIMEOUT = 60_000
/** Cookies of other sites are sent, as older browsers do it: what a server is safe from must not depend on the browser. */
const PREFERENCES = { profile: { cookie_controls_mode: 0, block_third_party_cookies: false } }

/** Why there can be no browser test here, or `false`. Where it is expected to run (CI) nothing is skipped: it fails. */
export function reasonToSkip (): string | false {
  if (existsSync(EXECUTABLE) || process.env.CI === 'true') return false
  const reason = `NOT TESTED in a browser: there is no Chromium at ${EXECUTABLE}. Install it or set CHROMIUM_PATH`
  console.error(reason)
  return reason
}

/**
 * Starts a browser with a profile of its own; both go away with the test. The pages of its default context are tabs of one
 * window, of which one can be seen; those of any other think that they always are. `flags` are further ones.
 */
export async function startBrowser (t: { teardown (end: () => Promise<void>): void }, flags: readonly string[] = []): Promise<Browser> {
  if (!existsSync(EXECUTABLE)) throw new Error(`there is no Chromium at ${EXECUTABLE}`)
  const profile = await mkdtemp(join(tmpdir(), 'fastify-ws-auth-chromium-'))
  await mkdir(join(profile, 'Default'))
  await writeFile(join(profile, 'Default/Preferences'), JSON.stringify(PREFERENCES))
  // A process group of its own: Chromium is a shell script that starts a program that starts more of them.
  const child = spawn(EXECUTABLE, [...FLAGS, ...flags, '--remote-debugging-port=0', `--user-data-dir=${profile}`, 'about:blank'], {
    detached: true, stdio: ['ignore', 'ignore', 'pipe']
  })
  tie(child, child.pid && -child.pid)
  const open: Browser[] = []
  t.teardown(async () => {
    for (const browser of open) await browser.close()
    await endGroup(child)
    await rm(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  })
  const browser = await chromium.connectOverCDP(await readEndpoint(child), { noDefaults: true })
  open.push(browser)
  return browser
}

/** Chromium says where its DevTools listen, among much else. */
async function readEndpoint (child: ChildProcessByStdio<null, null, Readable>): Promise<string> {
  const timer = setTimeout(() => child.stderr.destroy(new Error('Chromium did not start in time')), START_TIMEOUT)
  try {
    let output = ''
    for await (const chunk of child.stderr.iterator({ destroyOnReturn: false })) {
      output += chunk
      const endpoint = /DevTools listening on (ws:\S+)\s/.exec(output)?.[1]
      if (endpoint !== undefined) return endpoint
    }
    throw new Error(`Chromium ended before it listened:\n${output}`)
  } finally {
    clearTimeout(timer)
    child.stderr.resume()
  }
}

/** Ends what {@link startBrowser} started, and waits until it is gone. */
async function endGroup (child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  process.kill(-child.pid, 'SIGKILL')
  await exit
}

/** Declares an empty page, at `/`. */
export function addPage (app: FastifyInstance): void {
  app.get('/', async (_request, reply) => reply.type('text/html').send('<!doctype html><title>page</title>'))
}

/** A page in a context of its own: it shares no cookie with any other. */
export async function openPage (t: Pick<Test, 'teardown'>, browser: Browser, url: string): Promise<Page> {
  const context = await browser.newContext()
  context.setDefaultTimeout(TIMEOUT)
  t.teardown(() => context.close())
  const page = await context.newPage()
  await page.goto(url)
  return page
}

/** Resolves when something has become true, in a page or of a server that has one: both are slow. */
export async function eventually (isTrue: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + TIMEOUT
  while (!await isTrue()) {
    if (Date.now() > deadline) throw new Error(`not within ${TIMEOUT} ms: ${what}`)
    await delay(20)
  }
}

/** What a page keeps of a socket of its own. */
interface Kept {
  readonly socket: WebSocket
  readonly events: string[]
}

/** A socket that a page has opened. */
export class PageSocket {
  readonly #kept: JSHandle<Kept>

  constructor (kept: JSHandle<Kept>) {
    this.#kept = kept
  }

  /**
   * What the page was told until now, each as one text: `open`, `message <data>`, `error`, and
   * `close <code> <reason> <clean or unclean>`.
   */
  async events (): Promise<string[]> {
    return await this.#kept.evaluate(({ events }) => events)
  }

  /** The same, when it has been closed. */
  async closed (): Promise<string[]> {
    await this.told('close')
    return await this.events()
  }

  /** Resolves when the page has been told something that begins like this, so many times. */
  async told (beginning: string, count = 1): Promise<void> {
    const told = async (): Promise<string[]> => (await this.events()).filter((event) => event.startsWith(beginning))
    await eventually(async () => (await told()).length >= count, beginning)
  }

  /** The same, when the handshake has been answered. */
  async settled (): Promise<string[]> {
    await eventually(async () => (await this.events()).length > 0, 'an answer')
    return await this.events()
  }

  async protocol (): Promise<string> {
    return await this.#kept.evaluate(({ socket }) => socket.protocol)
  }

  async extensions (): Promise<string> {
    return await this.#kept.evaluate(({ socket }) => socket.extensions)
  }

  async send (text: string): Promise<void> {
    await this.told('open')
    await this.#kept.evaluate(({ socket }, text) => socket.send(text), text)
  }

  /** Has the page answer a hint with a token that it fetches, by `POST <path>`. */
  async renewBy (path: string): Promise<void> {
    await this.#kept.evaluate(({ socket }, path) => {
      socket.addEventListener('message', ({ data }) => {
        if (!String(data).startsWith('{"type":"auth.renew"')) return
        void fetch(path, { method: 'POST' }).then((response) => response.text()).then((token) => socket.send(JSON.stringify({ type: 'auth', token })))
      })
    }, path)
  }

  async close (code: number, reason: string): Promise<void> {
    await this.#kept.evaluate(({ socket }, [code, reason]) => socket.close(code, reason), [code, reason] as const)
  }
}

/**
 * Opens a WebSocket in a page, as its own script would.
 *
 * @param firstMessage what it sends when it is open
 */
export async function openSocket (page: Page | Frame, url: string, protocols: string[] = [], firstMessage = ''): Promise<PageSocket> {
  return new PageSocket(await page.evaluateHandle(([url, protocols, firstMessage]) => {
    const socket = new globalThis.WebSocket(url, protocols)
    const events: string[] = []
    socket.onopen = () => {
      events.push('open')
      if (firstMessage !== '') socket.send(firstMessage)
    }
    socket.onmessage = ({ data }) => { events.push(`message ${data}`) }
    socket.onerror = () => { events.push('error') }
    socket.onclose = ({ code, reason, wasClean }) => {
      events.push(['close', code, reason, wasClean ? 'clean' : 'unclean'].filter((part) => part !== '').join(' '))
    }
    return { socket, events }
  }, [url, protocols, firstMessage] as const))
}
