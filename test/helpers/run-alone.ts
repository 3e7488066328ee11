/*
 * Programs in an environment of their own: tap puts its loader into that of every child, and what a user runs has none.
 */
import { execFile } from 'node:child_process'

/** What a program came to: its exit code, and all that it wrote. */
export interface Outcome {
  readonly code: number
  readonly output: string
}

/** How long a program may run, in milliseconds. */
const TIMEOUT = 180_000

/** Runs a program, by `env` so that it has none of our environment but what finds programs. */
export async function runAlone (program: string, args: readonly string[], cwd: string): Promise<Outcome> {
  const environment = [`PATH=${process.env.PATH}`, `HOME=${process.env.HOME}`]
  return await new Promise((resolve) => {
    execFile('env', ['-i', ...environment, program, ...args], { cwd, timeout: TIMEOUT }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), output: `${stdout}${stderr}` })
    })
  })
}

/** Runs Node.js, the one that runs the tests. */
export async function runNode (cwd: string, ...args: string[]): Promise<Outcome> {
  return await runAlone(process.execPath, args, cwd)
}
