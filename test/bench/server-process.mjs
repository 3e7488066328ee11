// @ts-check
/*
 * The parent's side of `server.mjs`: one child process, asked one thing at a time. All that is measured runs on a core of
 * its own.
 */
import { execFile, execFileSync, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const SERVER = fileURLToPath(new URL('server.mjs', import.meta.url))
const RUNTIME_SERVER = fileURLToPath(new URL('contenders/runtime.mjs', import.meta.url))
const SERVER_CORE = '0'
const LOAD_CORE = '1'

/** Whether processes can be kept on one core each. */
const canPin = runs('taskset', ['-c', `${SERVER_CORE},${LOAD_CORE}`, 'true'])

/** Keeps this process, which makes the load, away from the core of the servers. Returns whether that was possible. */
export function pinLoad () {
  return canPin && runs('taskset', ['-a', '-c', '-p', LOAD_CORE, String(process.pid)])
}

function runs (file, args) {
  try {
    execFileSync(file, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** A server idles while the others are measured, and then V8 would throw away what it has compiled: the next 2,000 handshakes cost four times as much. */
const NODE = [process.execPath, '--expose-gc', '--no-memory-reducer']
const [EXEC_PATH = '', ...EXEC_ARGV] = canPin ? ['taskset', '-c', SERVER_CORE, ...NODE] : NODE

/**
 * Runs a script to its end, where the servers run.
 *
 * @param {string} file
 * @param {string[]} args
 * @returns {Promise<string>} what it printed
 */
export async function runPinned (file, args) {
  const { stdout } = await promisify(execFile)(EXEC_PATH, [...EXEC_ARGV, file, ...args])
  return stdout
}

/** The command that runs a file, for each other runtime whose program is known, by the name of its guard. @type {Map<string, string[]>} */
export const RUNTIMES = new Map()
addRuntime('Bun', process.env.BUN_PATH)
addRuntime('Deno', process.env.DENO_PATH, ['run', '-A', '--v8-flags=--expose-gc'])

function addRuntime (name, program, args = []) {
  if (program !== undefined) RUNTIMES.set(name, [...canPin ? ['taskset', '-c', SERVER_CORE] : [], program, ...args])
}

/** A server that listens, in its own process. */
export class ServerProcess {
  /** @type {import('node:child_process').ChildProcess} */
  #child
  port = 0

  /**
   * @param {import('./contenders/index.mjs').ServerSpec | null} spec `null` for the server that only answers
   */
  static async start (spec) {
    const started = new ServerProcess(RUNTIMES.get(spec?.guard ?? ''))
    started.port = await started.ask('listen', spec)
    return started
  }

  /** @param {readonly string[]} [runtime] the command of another runtime */
  constructor (runtime) {
    if (runtime === undefined) {
      this.#child = fork(SERVER, [], { execPath: EXEC_PATH, execArgv: EXEC_ARGV })
    } else {
      const [program = '', ...args] = runtime
      this.#child = spawn(program, [...args, RUNTIME_SERVER], { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] })
    }
  }

  /**
   * @param {string} command one of those in `server.mjs`
   * @param {unknown} argument
   * @returns {Promise<any>}
   */
  async ask (command, argument = null) {
    const listening = new AbortController()
    const { signal } = listening
    this.#child.send({ command, argument })
    const [{ answer, error }] = await Promise.race([
      once(this.#child, 'message', { signal }),
      once(this.#child, 'exit', { signal }).then(([code]) => { throw new Error(`the server ended with ${code}`) })
    ]).finally(() => listening.abort())
    if (error !== undefined) throw new Error(`the server says: ${error}`)
    return answer
  }

  async stop () {
    const exited = once(this.#child, 'exit')
    this.#child.disconnect()
    await exited
  }
}
