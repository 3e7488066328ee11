/*
 * The recipes for Vitest and Jest, each installed and run as its first comment says.
 */
import { execFile } from 'node:child_process'
import t from 'tap'
import { buildPackage } from '../helpers/example'

const ROOT = process.cwd()

/** How long npm may take, in milliseconds: it installs from a registry. */
const TIMEOUT = 240_000

/** Runs npm with the settings of our environment, but without the loader of tap. */
function npm (...args: string[]): Promise<{ error: Error | null, output: string }> {
  const { NODE_OPTIONS, ...env } = process.env
  return new Promise((resolve) => {
    execFile('npm', args, { cwd: ROOT, env, timeout: TIMEOUT }, (error, stdout, stderr) => resolve({ error, output: `${stdout}${stderr}` }))
  })
}

// Each installs a folder of its own.
t.jobs = 2

t.before(buildPackage)

for (const [name, passed] of [['tests-with-vitest', /Tests\s+4 passed \(4\)/], ['tests-with-jest', /^Tests: +4 passed, 4 total$/m]] as const) {
  t.test(`${name}: all of its tests pass`, async (t) => {
    const folder = `example/recipes/${name}`
    const installed = await npm('ci', '--no-audit', '--no-fund', '--prefix', folder)
    t.equal(installed.error, null, installed.output)
    const { error, output } = await npm('test', '--prefix', folder)
    t.equal(error, null, output)
    // eslint-disable-next-line no-control-regex -- Vitest colours its output
    t.match(output.replace(/\u001B\[\d+m/g, ''), passed)
  })
}
