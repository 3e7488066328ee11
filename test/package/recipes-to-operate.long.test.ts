/*
 * What operators and reviewers run: the review of the chat, and the recipe that compares policies.
 */
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { buildExample } from '../helpers/example'
import { runNode } from '../helpers/run-alone'

const ROOT = process.cwd()
const RECIPES = join(ROOT, 'example/recipes')

t.before(buildExample)

t.test('npm start -- --inspect prints the policies of the chat, and exits with 0', async (t) => {
  const { code, output } = await runNode(ROOT, 'example/build/chat/server.js', '--inspect')
  t.equal(code, 0, output)
  const [table = '', advice = ''] = output.trim().split('\n\n')
  const paths = table.split('\n').slice(2).map((row) => /^\| `([^`]+)`/.exec(row)?.[1])
  t.ok(paths.length >= 2 && paths.every((path) => path?.startsWith('/')), table)
  t.strictSame(paths, [...paths].sort())
  t.match(advice, /^- `\w+`: .+\.$/m)
  t.notMatch(output, /secret/i)
})

t.test('policy-snapshot: the test passes, and fails when a policy changes', async (t) => {
  const passed = await runNode(ROOT, '--test', 'example/recipes/policy-snapshot.test.js')
  t.equal(passed.code, 0, passed.output)
  t.match(passed.output, /^# pass 2$/m)

  const folder = t.testdir({})
  for (const name of ['policy-snapshot.test.js', 'policy-snapshot.md', 'cookie-login-and-plain-routes.js']) cpSync(join(RECIPES, name), join(folder, name))
  const app = join(folder, 'cookie-login-and-plain-routes.js')
  const source = readFileSync(app, 'utf8')
  const changed = source.replace(/roles: \['member'\]/, "roles: ['member', 'guest']")
  t.not(changed, source)
  writeFileSync(app, changed)
  const failed = await runNode(ROOT, '--test', join(folder, 'policy-snapshot.test.js'))
  t.not(failed.code, 0)
  t.match(failed.output, /`member`, `guest`/)
  const updated = await runNode(ROOT, '-e', `process.env.UPDATE = '1'; require(${JSON.stringify(join(folder, 'policy-snapshot.test.js'))})`)
  t.equal(updated.code, 0, updated.output)
  t.match(readFileSync(join(folder, 'policy-snapshot.md'), 'utf8'), /`member`, `guest`/)
})
