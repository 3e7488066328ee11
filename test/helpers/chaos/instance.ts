/*
 * An instance of `chaos-server.ts`, from outside.
 */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import type { Test } from 'tap'
import { callId } from './server'
import type { Answer, Server, ServerSettings } from './server'
import type { Story } from './ledger'

interface Waiting {
  readonly resolve: (value: never) => void
  readonly reject: (error: Error) => void
}

/** What a call failed with, in the process: the code of the error where it has one. */
export class RemoteError extends Error {}

export class ChaosInstance {
  readonly #child: ChildProcess
  readonly #waiting = new Map<string, Waiting>()
  port = 0
  /** When it was not there, or was not to be counted on: since when, until when. */
  readonly restarts: Array<{ readonly from: number, to: number }> = []
  /** What was told of all requests, by the number of the client. */
  readonly stories = new Map<string, Story[]>()

  constructor (t: Test, settings: ServerSettings) {
    this.#child = fork(require.resolve('./server'), [JSON.stringify(settings)], {
      execArgv: [...process.execArgv.filter((arg) => arg.includes('@tapjs/typescript')), '--expose-gc'],
      env: { ...process.env, NODE_OPTIONS: '' }
    })
    t.teardown(() => { this.#child.kill('SIGKILL') })
    this.#child.on('message', ({ id, value, error }: Answer) => {
      const waiting = this.#waiting.get(id)
      this.#waiting.delete(id)
      if (error === undefined) waiting?.resolve(value as never)
      else waiting?.reject(new RemoteError(error))
    })
    this.#child.on('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`an instance has ended: ${code} ${signal}`))
    })
  }

  get isAlive (): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  async call<Name extends keyof Server> (name: Name, ...args: Parameters<Server[Name]>): Promise<Awaited<ReturnType<Server[Name]>>> {
    if (!this.isAlive) throw new Error('an instance has ended')
    const id = callId()
    return await new Promise<Awaited<ReturnType<Server[Name]>>>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#child.send({ id, name, args })
    })
  }

  async start (): Promise<void> {
    this.port = await this.call('start', this.port)
  }

  /** How many descriptors it has; none where that cannot be seen. */
  countDescriptors (): number {
    return process.platform === 'linux' ? readdirSync(`/proc/${this.#child.pid}/fd`).length : 0
  }

  /** It has nothing to live for once nobody talks to it any more. @returns its exit code */
  async end (): Promise<number | null> {
    const exited = once(this.#child, 'exit')
    this.#child.disconnect()
    return (await exited)[0] as number | null
  }
}
