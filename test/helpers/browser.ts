/*
 * A real Chromium, driven over its DevTools protocol. It is started here and not by Playwright, so that its flags are
 * these and no others, and its process is one that we know.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess, ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { chromium } from 'playwright-core'
import type { Browser } from 'playwright-core'
import { tie } from './example'

const EXECUTABLE = process.env.CHROMIUM_PATH || '/usr/bin/chromium'
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync']
const START_TIMEOUT = 30_000

/** Why there can be no browser test here, or `false`. Where it is expected to run (CI) nothing is skipped: it fails. */
export function reasonToSkip (): string | false {
  if (existsSync(EXECUTABLE) || process.env.CI === 'true') return false
  const reason = `NOT TESTED in a browser: there is no Chromium at ${EXECUTABLE}. Install it or set CHROMIUM_PATH`
  console.error(reason)
  return reason
}

/** Starts a browser with a profile of its own; both go away with the test. */
export async function startBrowser (t: { teardown (end: () => Promise<void>): void }): Promise<Browser> {
  if (!existsSync(EXECUTABLE)) throw new Error(`there is no Chromium at ${EXECUTABLE}`)
  const profile = await mkdtemp(join(tmpdir(), 'fastify-ws-auth-chromium-'))
  // A process group of its own: Chromium is a shell script that starts a program that starts more of them.
  const child = spawn(EXECUTABLE, [...FLAGS, '--remote-debugging-port=0', `--user-data-dir=${profile}`, 'about:blank'], {
    detached: true, stdio: ['ignore', 'ignore', 'pipe']
  })
  tie(child, child.pid && -child.pid)
  const open: Browser[] = []
  t.teardown(async () => {
    for (const browser of open) await browser.close()
    await endGroup(child)
    await rm(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  })
  const browser = await chromium.connectOverCDP(await readEndpoint(child))
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
