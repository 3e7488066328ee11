/*
 * A real WebKit: the MiniBrowser of WebKitGTK, driven by WebDriver (https://www.w3.org/TR/webdriver2/) on a screen that nobody sees.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { Engine, Tab, Teardown } from './engines'
import { tie } from './example'
import { freePort } from './free-port'

const DRIVER = '/usr/bin/WebKitWebDriver'
const BROWSER = '/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser'
const SCREEN = '/usr/bin/Xvfb'
const START_TIMEOUT = 60_000

/** Why there is no test in WebKit here, or `false`. CI does not install it: it takes a minute. */
export function reasonWithoutWebKit (): string | false {
  if ([DRIVER, BROWSER, SCREEN].every(existsSync)) return false
  const reason = 'NOT TESTED in WebKit: install webkit2gtk-driver and xvfb'
  console.error(reason)
  return reason
}

/** The results of all commands that are used here. */
interface Value {
  readonly ready?: boolean
  readonly sessionId: string
  readonly capabilities: { readonly browserVersion: string }
  /** Of a script. */
  readonly result?: unknown
  readonly error?: string
  readonly message?: string
}

/** Starts a WebKit. It has one page, which each test takes over from the one before. */
export async function startWebKit (t: Teardown): Promise<Engine> {
  const display = `:${await freePort()}`
  start(t, SCREEN, [display, '-screen', '0', '1024x768x24', '-nolisten', 'tcp'])
  const port = await freePort()
  start(t, DRIVER, [`--port=${port}`], { DISPLAY: display })
  const send = async (method: string, path: string, body?: object): Promise<Value> => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, ...body && { body: JSON.stringify(body) } })
    const { value } = await response.json() as { value: Value }
    if (!response.ok) throw new Error(`${value.error}: ${value.message}`)
    return value
  }
  const deadline = Date.now() + START_TIMEOUT
  while (!await send('GET', '/status').then(({ ready }) => ready === true, () => false)) {
    if (Date.now() > deadline) throw new Error('WebKitWebDriver did not start in time')
    await delay(50)
  }
  const { sessionId, capabilities } = await send('POST', '/session', {
    capabilities: { alwaysMatch: { 'webkitgtk:browserOptions': { binary: BROWSER, args: ['--automation'] } } }
  })
  t.teardown(async () => { await send('DELETE', `/session/${sessionId}`).catch(() => {}) })
  const tab = tabOf(async (path, body) => await send('POST', `/session/${sessionId}/${path}`, body))
  const open = async (_t: Teardown, url: string): Promise<Tab> => {
    await tab.goto(url)
    return tab
  }
  return { name: 'WebKit', version: capabilities.browserVersion, hasManyPages: false, open }
}

function tabOf (post: (path: string, body: object) => Promise<Value>): Tab {
  const cannot = async (): Promise<never> => { throw new Error('WebDriver cannot do this') }
  return {
    goto: async (url) => { await post('url', { url }) },
    back: async () => { await post('back', {}) },
    run: async (expression) => {
      const script = `const done = arguments[0]; (async () => (${expression}))().then((result) => done({ result }), (error) => done({ error: String(error) }))`
      const { result, error } = await post('execute/async', { script, args: [] })
      if (error !== undefined) throw new Error(error)
      return result as never
    },
    sibling: cannot,
    setOffline: cannot,
    close: cannot
  }
}

function start (t: Teardown, program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): void {
  const child: ChildProcess = spawn(program, args, { detached: true, stdio: 'ignore', env: { ...process.env, ...env } })
  tie(child, child.pid && -child.pid)
  t.teardown(async () => {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    process.kill(-child.pid, 'SIGKILL')
    await exit
  })
}
