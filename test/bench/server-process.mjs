// @ts-check
/*
 * The parent's side of `server.mjs`: one child process, asked one thing at a time. All that is measured runs on a core of
 * its own.
 */
import { execFile, execFileSync, fork, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { AskedProcess } from './asked-process.mjs'

const SERVER = fileURLToPath(new URL('server.mjs', import.meta.url))
const RUNTIME_SERVER = fileURLToPath(new URL('contenders/runtime.mjs', import.meta.url))
const SERVER_CORE = '0'
const LOAD_CORE = '1'
/** How long a script may run, in milliseconds. */
const SCRIPT_TIMEOUT = 120_000

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
  const { stdout } = await promisify(execFile)(EXEC_PATH, [...EXEC_ARGV, file, ...args], { timeout: SCRIPT_TIMEOUT, killSignal: 'SIGKILL' })
  return stdout
}

/** The command that runs a file, for each other runtime whose program is known, by the name of its guard. @type {Map<string, string[]>} */
export const RUNTIMES = new Map()
addRuntime('Bun', process.env.BUN_PATH ?? installed('@oven/bun-linux-x64/bin/bun'))
addRuntime('Deno', process.env.DENO_PATH ?? installed('@deno/linux-x64-glibc/deno'), ['run', '-A', '--v8-flags=--expose-gc'])

/** The program in a package of this folder, which npm leaves out on other platforms. */
function installed (path) {
  const program = fileURLToPath(new URL(`node_modules/${path}`, import.meta.url))
  return existsSync(program) ? program : undefined
}

function addRuntime (name, program, args = []) {
  if (program !== undefined) RUNTIMES.set(name, [...canPin ? ['taskset', '-c', SERVER_CORE] : [], program, ...args])
}

/** A server that listens, in its own process. */
export class ServerProcess extends AskedProcess {
  port = 0

  /**
   * @param {import('./contenders/index.mjs').ServerSpec | null} spec `null` for the server that only answers
   */
  static async start (spec) {
    const started = new ServerProcess(createChild(RUNTIMES.get(spec?.guard ?? '')))
    try {
      started.port = await started.ask('listen', spec)
    } catch (error) {
      await started.stop()
      throw error
    }
    return started
  }
}

/** @param {readonly string[]} [runtime] the command of another runtime */
function createChild (runtime) {
  if (runtime === undefined) return fork(SERVER, [], { execPath: EXEC_PATH, execArgv: EXEC_ARGV })
  const [program = '', ...args] = runtime
  return spawn(program, [...args, RUNTIME_SERVER], { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] })
}

/** How a child is started where the servers run, with nothing that a user would not give. */
export function onServerCore () {
  return canPin ? { execPath: 'taskset', execArgv: ['-c', SERVER_CORE, process.execPath] } : { execPath: process.execPath, execArgv: [] }
}
