/*
 * A test that fails when the policy of a websocket route changes: a role that is gone, a route that became public, a limit that was lifted.
 * The policies are in a file beside it, so that a review sees the change as a line of the diff.
 *
 *   node --test example/recipes/policy-snapshot.test.js
 *   UPDATE=1 node --test example/recipes/policy-snapshot.test.js    accepts the present policies
 */
const assert = require('node:assert/strict')
const { readFileSync, writeFileSync } = require('node:fs')
const { join } = require('node:path')
const { test } = require('node:test')
const { createApp } = require('./cookie-login-and-plain-routes')

const FILE = join(__dirname, 'policy-snapshot.md')

test('the policies of the websocket routes are those of the last review', async (t) => {
  const app = await createApp()
  t.after(() => app.close())
  await app.ready()
  const policies = String(app.wsAuth.inspect())
  if (process.env.UPDATE === '1') writeFileSync(FILE, policies)
  assert.equal(policies, readFileSync(FILE, 'utf8'))
})

test('no route of the app is public', async (t) => {
  const app = await createApp()
  t.after(() => app.close())
  await app.ready()
  const { routes } = app.wsAuth.inspect()
  assert.deepEqual(routes.filter(({ access }) => access !== 'required').map(({ path }) => path), [])
})
