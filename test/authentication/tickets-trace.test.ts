/*
 * What is left of a ticket in logs, requests, errors and events.
 */
import { inspect } from 'node:util'
import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { onDecision } from '../helpers/decisions'
import { upgrade } from '../helpers/raw-client'
import type { RequestSettings } from '../helpers/raw-client'
import { bearer, startChat } from '../helpers/ticket-chat'
import { statsOf } from '../helpers/stats'

t.test('the ticket of a URL leaves no trace', async (t) => {
  const seen: string[] = []
  const look = (where: string, request: FastifyRequest): void => {
    const { url, originalUrl, query, params, headers, raw } = request
    seen.push(inspect({ where, url, originalUrl, query, params, headers, rawUrl: raw.url, rawHeaders: raw.rawHeaders }, { depth: 5, maxStringLength: null }))
  }
  const { app, port, log, ticket } = await startChat(t, { tickets: { query: 'key' } }, {
    wsAuth: { authorize: (_user, request) => { look('authorize', request); return request.headers['x-no'] === undefined } },
    before: (app) => {
      app.addHook('onRequest', async (request) => { look('onRequest', request) })
      app.addHook('preParsing', async (request) => { look('preParsing', request) })
      app.addHook('onError', async (request, _reply, error) => { look('onError', request); seen.push(inspect(error, { depth: 9, showHidden: true })) })
      app.addHook('onResponse', async (request) => { look('onResponse', request) })
    },
    routes: (app) => {
      app.addHook('preValidation', async (request) => { look('preValidation', request) })
      app.addHook('preHandler', async (request) => { look('preHandler', request) })
      app.get('/both', { websocket: true, wsAuth: { tickets: { require: true } } }, (_socket, request) => { look('handler', request) })
    }
  })
  const events: string[] = []
  onDecision(t, (event) => { events.push(inspect(event)) })
  const tickets: string[] = []
  const attempts: Array<[string, RequestSettings]> = [
    ['/chat?key=T', {}], ['/chat?a=1&key=T&b=2', {}], ['/chat?k%65y=T', {}], ['/chat?key=T', { headers: { 'x-no': '1' } }],
    ['/chat?key=T&key=T', {}], ['/chat?key=T&token=x', {}], ['/chat?key=T', { headers: { 'sec-websocket-key': 'x' } }], ['/nowhere?key=T', {}],
    ['/both?key=T', { headers: bearer() }], ['/both?key=T', { headers: bearer({ sub: 'bea' }) }], ['/both?key=T', {}], ['/both?key=T&token=x', {}],
    ['/plain?key=T', {}], ['/public?key=T', {}], ['/optional?key=T', {}], ['/chat#key=T', {}], ['/%zz?key=T', {}], [`/${'a'.repeat(200)}?key=T`, {}]
  ]
  for (const [path, settings] of attempts) {
    const one = await ticket()
    tickets.push(one)
    for (let i = 0; i < 2; i++) {
      const { answer } = await upgrade(t, port, { ...settings, path: path.replaceAll('T', one) })
      seen.push(answer.text)
    }
  }
  t.ok(statsOf(app).accepted >= 4)
  t.ok(seen.length > 50 && log.length > 20 && events.length > 10, 'there was something to look at')
  const all = [...seen, ...log, ...events, inspect(app.wsAuth.connections, { depth: 3, showHidden: true })].join('\n')
  for (const [i, one] of tickets.entries()) t.notOk(all.includes(one), String(attempts[i]?.[0]))
})
