/*
 * Metrics for Prometheus with prom-client: the counts of each websocket route, and how long handshakes took and connections lived.
 *
 *   node example/recipes/prom-client.js    then GET /metrics
 */
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')
const { Counter, Gauge, Registry } = require('prom-client')

/** Makes the metrics of an app. They are read from `stats()` at each scrape. */
function createMetrics (app) {
  const register = new Registry()
  const registers = [register]
  const stats = () => app.wsAuth.stats()
  /** Calls `add` with the counts of each route; handshakes that reached no route have an empty one. */
  const counter = (name, help, label, countsOf) => new Counter({
    name,
    help,
    labelNames: ['route', label].filter(Boolean),
    registers,
    collect () {
      this.reset()
      const { routes, ...total } = stats()
      const rest = { ...countsOf(total) }
      for (const [route, counts] of Object.entries(routes)) {
        for (const [key, count] of Object.entries(countsOf(counts))) {
          this.inc(label ? { route, [label]: key } : { route }, count)
          rest[key] -= count
        }
      }
      if (label === 'code') for (const [code, count] of Object.entries(rest)) this.inc({ route: '', code }, count)
    }
  })
  counter('ws_auth_accepted_total', 'Connections that were opened', null, ({ accepted }) => ({ accepted }))
  counter('ws_auth_renewed_total', 'Renewals that were accepted', null, ({ renewed }) => ({ renewed }))
  counter('ws_auth_refused_total', 'Handshakes and renewals that were refused', 'code', ({ refused }) => refused)
  counter('ws_auth_closed_total', 'Connections that have ended', 'reason', ({ closed }) => closed)

  const connections = new Gauge({
    name: 'ws_auth_connections',
    help: 'Connections that are open',
    labelNames: ['route'],
    registers: [],
    collect () {
      for (const [route, counts] of Object.entries(stats().routes)) this.set({ route }, counts.connections)
    }
  })
  register.registerMetric(connections)
  /** A value that is not known is no sample. */
  const gauge = (name, help, valueOf) => new Gauge({
    name,
    help,
    registers,
    collect () {
      const value = valueOf(stats())
      if (value === null) this.remove()
      else this.set(value)
    }
  })
  gauge('ws_auth_pending', 'Handshakes, first messages and plain requests that wait', ({ pending }) => pending)
  gauge('ws_auth_backplane_current', '1 if handshakes are answered, 0 in an outage of the backplane', ({ backplane }) => Number(backplane.isCurrent))
  gauge('ws_auth_backplane_age_seconds', 'How old the last reply of the backplane is', ({ backplane }) => backplane.age === null ? null : backplane.age / 1000)
  gauge('ws_auth_backplane_revocations', 'Revocations in memory', ({ backplane }) => backplane.revocations)

  addHistogram(register, 'ws_auth_handshake_duration_seconds', 'How long handshakes took', ['route', 'result'], () => Object.entries(stats().routes).flatMap(([route, { durations }]) => [
    [{ route, result: 'accepted' }, durations.accepted], [{ route, result: 'refused' }, durations.refused]
  ]))
  addHistogram(register, 'ws_auth_connection_duration_seconds', 'How long connections lived', ['route'], () => Object.entries(stats().routes).map(([route, { durations }]) => [
    { route }, durations.closed
  ]))
  return register
}

/** prom-client has no histogram that is filled from outside, so this is one by its interface. Prometheus counts in seconds, and cumulatively. */
function addHistogram (register, name, help, labelNames, read) {
  const valuesOf = ([labels, { bounds, counts, count, sum }]) => {
    let below = 0
    const buckets = bounds.map((bound, i) => {
      below += counts[i]
      return { metricName: `${name}_bucket`, labels: { ...labels, le: bound / 1000 }, value: below }
    })
    return [...buckets,
      { metricName: `${name}_bucket`, labels: { ...labels, le: '+Inf' }, value: count },
      { metricName: `${name}_sum`, labels, value: sum / 1000 },
      { metricName: `${name}_count`, labels, value: count }]
  }
  register.registerMetric({
    name,
    help,
    type: 'histogram',
    labelNames,
    aggregator: 'sum',
    reset () {},
    async get () { return { name, help, type: 'histogram', aggregator: 'sum', values: read().flatMap(valuesOf) } }
  })
}

async function createApp (options = {}) {
  const app = Fastify(options)
  await app.register(fastifyWsAuth, { jwt: { secret: process.env.JWT_SECRET || 'a secret of thirty-two bytes, or more' } })
  app.get('/chat', { websocket: true }, (socket, request) => socket.send(`hello ${request.user.sub}`))
  const register = createMetrics(app)
  // For the scraper alone: let the proxy refuse it to others, or listen on another port.
  app.get('/metrics', async (request, reply) => reply.type(register.contentType).send(await register.metrics()))
  return app
}

module.exports = { createApp, createMetrics }

if (require.main === module) {
  createApp({ logger: true }).then((app) => app.listen({ port: Number(process.env.PORT ?? 3000) }))
}
