// @ts-check
/*
 * The parent's side of `server.mjs`: one child process, asked one thing at a time.
 */
import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const SERVER = fileURLToPath(new URL('server.mjs', import.meta.url))
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

/** A server that listens, in its own process. */
export class ServerProcess {
  /** @type {import('node:child_process').ChildProcess} */
  #child
  port = 0

  /**
   * @param {import('./contenders.mjs').ServerSpec | null} spec `null` for the server that only answers
   */
  static async start (spec) {
    const started = new ServerProcess()
    started.port = await started.ask('listen', spec)
    return started
  }

  constructor () {
    const node = [process.execPath, '--expose-gc']
    const [execPath = '', ...execArgv] = canPin ? ['taskset', '-c', SERVER_CORE, ...node] : node
    this.#child = fork(SERVER, [], { execPath, execArgv })
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
