/*
 * The names and paths under which any route of an app may have a token.
 */
import t from 'tap'
import { KnownNames } from '../../lib/credentials/known-names'
import { readPluginOptions } from '../../lib/options/read-plugin-options'

const PLUGIN = readPluginOptions({ jwt: { secret: 'thirty-two bytes of test secret!' } })

t.test('KnownNames has the names of the plugin and of all routes, and no name for a place that is off', async (t) => {
  const names = new KnownNames()
  names.addSources(PLUGIN)
  t.strictSame([[...names.query], [...names.subprotocol], [...names.sources]], [['token'], ['bearer'], [PLUGIN.token]])
  names.addSources({ token: { ...PLUGIN.token, query: 'q', subprotocol: 's' }, tickets: { query: 'ticket', require: false } })
  t.strictSame([[...names.query], [...names.subprotocol], names.sources.size], [['token', 'q', 'ticket'], ['bearer', 's'], 2])
  const off = new KnownNames()
  off.addSources({ token: { ...PLUGIN.token, query: null, subprotocol: null }, tickets: { query: null, require: false } })
  t.strictSame([[...off.query], [...off.subprotocol], off.sources.size], [[], [], 1])
})

t.test('the token in a path is found if a GET route has it there and no other route matches better', async (t) => {
  const names = new KnownNames()
  names.addRoute({ method: 'POST', url: '/rooms/:token' }, 'token')
  t.equal(names.findParam('/rooms/x'), null, 'a handshake is a GET')
  names.addRoute({ method: 'GET', url: '/other/:token' }, null)
  t.equal(names.findParam('/other/x'), null, 'the route has no token')
  names.addRoute({ method: ['POST', 'GET'], url: '/rooms/:token' }, 'token')
  const found = { name: 'token', start: 7, end: 8 }
  t.strictSame(names.findParam('/rooms/x'), found)
  t.equal(names.findParam('/other/x'), null)
  names.addRoute({ method: 'GET', url: '/rooms/y' }, null)
  t.equal(names.findParam('/rooms/y'), null)
  t.strictSame(names.findParam('/rooms/x'), found)
})

t.test('a path is read by the settings of the router', async (t) => {
  const find = (router: object, url: string, route = '/rooms/:token'): string | null => {
    const names = new KnownNames(router)
    names.addRoute({ method: 'GET', url: route }, 'token')
    const found = names.findParam(url)
    return found === null ? null : url.slice(found.start, found.end)
  }
  t.equal(find({}, '/rooms/x;a=1'), 'x;a=1')
  t.equal(find({ useSemicolonDelimiter: true }, '/rooms/x;a=1'), 'x')
  t.equal(find({}, '/rooms/x?a=1'), 'x')
  t.equal(find({}, '/a1/x', '/:id(^a\\d$)/:token'), 'x')
  t.equal(find({ maxParamLength: 1 }, `/${'a'.repeat(30)}1/x`, '/:id(^a+1$)/:token'), null)
})
