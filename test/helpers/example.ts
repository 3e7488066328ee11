/*
 * The examples as a user runs them: built, and started as processes of their own.
 */
import { execFile, spawn } from 'node:child_process'
import type { ChildProcess, ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { promisify } from 'node:util'

const ROOT = process.cwd()
const PACKAGE = join(ROOT, 'dist/index.js')
const SERVER = join(ROOT, 'example/build/chat/server.js')
const START_TIMEOUT = 120_000
/** The demonstration takes ten seconds, where nothing else runs. */
const RUN_TIMEOUT = 180_000
const END_TIMEOUT = 60_000

const run = promisify(execFile)

/** A running chat. */
export interface RunningExample {
  /** That of the first instance. */
  readonly url: string
  /** Those of all instances. */
  readonly urls: readonly string[]
  readonly port: number
  /** What it has printed until now, logs included. */
  output (): string
  /** Ends it, as a terminal would. Resolves to its exit code. */
  stop (): Promise<number | null>
}

/** A running file of `example/`. */
export interface RunningFile extends Pick<RunningExample, 'url' | 'output' | 'stop'> {
  /** Sends it a signal, once. */
  signal (name: NodeJS.Signals): void
  /** Its exit code, once it has ended; `null` if a signal has ended it. */
  readonly ended: Promise<number | null>
}

/** How a chat is started. */
export interface ExampleOptions {
  readonly port?: number
  readonly env?: NodeJS.ProcessEnv
  /** Two instances, with `--redis`. */
  readonly isTwofold?: boolean
}

/** Builds the package if a source is newer than the build. The examples in plain JavaScript need no more. */
export async function buildPackage (): Promise<void> {
  if (await isOlder(PACKAGE, await sourcesIn('lib'))) await run('npm', ['run', '--silent', 'build'], { cwd: ROOT })
}

/** Builds the package and the chat if a source is newer than the build. */
export async function buildExample (): Promise<void> {
  await buildPackage()
  if (await isOlder(SERVER, [...await sourcesIn('example'), PACKAGE])) await run('npx', ['tsc', '-p', 'example'], { cwd: ROOT })
}

/**
 * Starts a file of `example/` that logs where it listens, as Fastify's logger does. It ends with the test at the latest.
 *
 * @param file its path below `example/`
 */
export async function startFile (t: { teardown (end: () => Promise<unknown>): void }, file: string, env: NodeJS.ProcessEnv = {}): Promise<RunningFile> {
  const { child, output } = startNode(t, [join(ROOT, 'example', file)], { PORT: '0', ...env })
  const [[, url = '']] = await printed(child, output, /Server listening at (http:\/\/127\.0\.0\.1:\d+)/g, 1)
  return { url, output, stop: () => end(child), signal: (name) => { child.kill(name) }, ended: once(child, 'exit').then(([code]) => code as number | null) }
}

/** Starts the chat on a free port, or on `port`; it ends with the test at the latest. */
export async function startExample (t: { teardown (end: () => Promise<unknown>): void }, { port = 0, env = {}, isTwofold = false }: ExampleOptions = {}): Promise<RunningExample> {
  const { child, output } = startNode(t, [SERVER, '--port', String(port), ...isTwofold ? ['--redis'] : []], env)
  const lines = await printed(child, output, /^listening on (\S+)$/mg, isTwofold ? 2 : 1)
  const urls = lines.map(([, url = '']) => url)
  const [url = ''] = urls
  return { url, urls, port: Number(new URL(url).port), output, stop: () => end(child) }
}

type Program = ChildProcessByStdio<null, Readable, Readable>

function startNode (t: { teardown (end: () => Promise<unknown>): void }, args: readonly string[], env: NodeJS.ProcessEnv): { child: Program, output: () => string } {
  const child = spawn(process.execPath, args, { env: { ...environment(), ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  tie(child, child.pid)
  t.teardown(() => end(child))
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => { output += text })
  return { child, output: () => output }
}

/** Waits until a program has printed so many lines. */
async function printed (child: Program, output: () => string, line: RegExp, count: number): Promise<[RegExpMatchArray, ...RegExpMatchArray[]]> {
  const signal = AbortSignal.timeout(START_TIMEOUT)
  for (;;) {
    const [first, ...rest] = output().matchAll(line)
    if (first !== undefined && rest.length + 1 >= count) return [first, ...rest]
    await Promise.race([once(child.stdout, 'data', { signal }), once(child, 'exit', { signal })])
    if (child.exitCode !== null) throw new Error(`the example ended with ${child.exitCode}:\n${output()}`)
  }
}

/** Runs the chat to its end. */
export async function runExample (args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<{ code: number | null, stdout: string, stderr: string }> {
  const child = spawn(process.execPath, [SERVER, ...args], { env: { ...environment(), ...env }, stdio: ['ignore', 'pipe', 'pipe'], timeout: RUN_TIMEOUT })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => { stdout += text })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text })
  const [code] = await once(child, 'close') as [number | null]
  return { code, stdout, stderr }
}

/**
 * Has what we started end when we do, even where no teardown runs: tap kills a test that takes too long, which no handler
 * survives, but it closes our end of a pipe. A shell waits at the other end.
 *
 * @param target the process to kill, or the group of processes where it is negative
 */
export function tie (child: ChildProcess, target: number | undefined): void {
  if (target === undefined) return
  const watcher = spawn('sh', ['-c', 'read line; kill -9 -- "$0"', String(target)], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
  watcher.unref()
  ;(watcher.stdin as Socket).unref()
  child.once('exit', () => watcher.kill())
}

async function end (child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode
  const exit = once(child, 'exit')
  // Twice, since npm passes on what the terminal has sent already. At once: a process on its way out heeds nobody. It is stopped
  // meanwhile, because this process may have to wait between the two. The kernel merges two pending signals of one kind.
  for (const signal of ['SIGSTOP', 'SIGTERM', 'SIGINT', 'SIGCONT'] as const) child.kill(signal)
  const timer = setTimeout(() => child.kill('SIGKILL'), END_TIMEOUT)
  const [code] = await exit as [number | null]
  clearTimeout(timer)
  return code
}

/** Without what the example reads, and without the loaders of whoever runs the tests: a user has none. */
function environment (): NodeJS.ProcessEnv {
  const { JWT_SECRET, PORT, HTTPS, LOG_LEVEL, REDIS_URL, NODE_ENV, NODE_OPTIONS, ...env } = process.env
  return env
}

async function sourcesIn (folder: string): Promise<string[]> {
  const names = await readdir(join(ROOT, folder), { recursive: true })
  return names.filter((name) => /\.(?:ts|json)$/.test(name)).map((name) => join(ROOT, folder, name))
}

async function isOlder (file: string, sources: string[]): Promise<boolean> {
  const builtAt = await modifiedAt(file)
  return (await Promise.all(sources.map(modifiedAt))).some((at) => at > builtAt)
}

async function modifiedAt (file: string): Promise<number> {
  return stat(file).then(({ mtimeMs }) => mtimeMs, () => 0)
}
