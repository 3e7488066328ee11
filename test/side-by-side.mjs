/*
 * Runs scripts of package.json at the same time, and fails if one of them fails: `node test/side-by-side.mjs typecheck lint`. What a
 * script writes is printed when it has ended.
 */
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'

await Promise.all(process.argv.slice(2).map(run))

async function run (name) {
  const child = spawn('npm', ['run', '--silent', name], { stdio: ['ignore', 'pipe', 'pipe'], shell: process.platform === 'win32' })
  const ended = new Promise((resolve) => child.once('close', resolve))
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)])
  process.stdout.write(output)
  process.stderr.write(errors)
  if (await ended === 0) return
  console.error(`npm run ${name} failed`)
  process.exitCode = 1
}
