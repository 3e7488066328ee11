/*
 * HEAD of a websocket route: it is answered as GET is, without a body, and never opens a connection.
 */
import t from 'tap'
import { sign, start } from '../helpers/app'
import { RawClient } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const BEARER = { authorization: `Bearer ${sign({ sub: 'ann' })}` }

t.test('HEAD has the status and the headers of GET, however the route is declared', async (t) => {
  let opened = 0
  const { app, port } = await start(t, {
    plugin: { routes: { '/routes': { roles: ['admin'] } } },
    routes: (app) => {
      const handler = (): void => { opened++ }
      app.get('/get', { websocket: true }, handler)
      app.get('/admin', { websocket: true, wsAuth: { roles: ['admin'] } }, handler)
      app.get('/routes', { websocket: true }, handler)
      app.get('/public', { websocket: true, wsAuth: false }, handler)
      app.route({ method: ['GET', 'HEAD'], url: '/both', websocket: true, handler: handler as never })
      app.route({ method: 'GET', url: '/two', handler: async () => 'plain', wsHandler: handler })
    }
  })
  const answers: Array<[url: string, anonymous: number, ann: number]> = [
    ['/get', 401, 426], ['/admin', 401, 403], ['/routes', 401, 403], ['/public', 426, 426], ['/both', 401, 426], ['/two', 200, 200], ['/nowhere', 404, 404]
  ]
  for (const [url, ...expected] of answers) {
    for (const [i, headers] of [{}, BEARER].entries()) {
      const [get, head] = [await app.inject({ url, headers }), await app.inject({ method: 'HEAD', url, headers })]
      t.equal(head.statusCode, expected[i], `HEAD ${url}`)
      t.equal(head.statusCode, get.statusCode, `GET ${url}`)
      t.equal(head.body, '', 'there is no body')
      for (const name of ['www-authenticate', 'upgrade', 'cache-control']) t.equal(head.headers[name], get.headers[name], name)
    }
    const client = await RawClient.open(t, port)
    const { status } = await client.upgrade({ method: 'HEAD', path: url, headers: BEARER }).response(false)
    t.ok([400, 404].includes(status), `an upgrade by HEAD of ${url} is refused with ${status}`)
    client.socket.destroy()
  }
  t.equal(opened, 0)
  t.match(statsOf(app), { accepted: 0, connections: 0, pending: 0 })
})
