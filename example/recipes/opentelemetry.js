/*
 * OpenTelemetry: a span for each handshake, and the counts and durations of each websocket route as metrics.
 *
 *   node example/recipes/opentelemetry.js    prints spans at once and metrics once a minute; put exporters of OTLP in the place of the console
 *
 * The parent of a span is in the `traceparent` of the request: the client chooses the trace, and whether it is sampled. Let the proxy
 * take that header out of requests from outside if you do not want this. Spans and metrics have no token, no user and no address.
 */
const { subscribe, unsubscribe } = require('node:diagnostics_channel')
const { context, createContextKey, propagation, SpanKind, SpanStatusCode, trace, ValueType } = require('@opentelemetry/api')
const { W3CTraceContextPropagator } = require('@opentelemetry/core')
const { AggregationTemporality, ConsoleMetricExporter, DataPointType, MeterProvider, PeriodicExportingMetricReader } = require('@opentelemetry/sdk-metrics')
const { ConsoleSpanExporter, NodeTracerProvider, SimpleSpanProcessor } = require('@opentelemetry/sdk-trace-node')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')

const SCOPE = { name: 'fastify-ws-auth' }
const CHANNEL = 'fastify-ws-auth'
const HANDSHAKE = createContextKey('the handshake of a websocket')

/** The span of a handshake. It ends once, with the first that is known: the decision, the answer of other code, or the end of the socket. */
class HandshakeSpan {
  /** The `code` of an error that a hook has answered with. */
  errorCode = null
  #span
  #socket

  constructor (tracer, request) {
    this.route = request.routeOptions.url ?? null
    const parent = propagation.extract(context.active(), request.headers)
    this.#span = tracer.startSpan(`websocket handshake ${this.route ?? ''}`.trim(), {
      kind: SpanKind.SERVER,
      attributes: this.route === null ? {} : { 'http.route': this.route }
    }, parent)
    this.context = trace.setSpan(parent, this.#span).setValue(HANDSHAKE, this)
    this.#socket = request.raw.socket
    // `injectWS` has no socket.
    this.#socket?.once('close', this.#onGone)
    if (this.#socket?.closed) this.#onGone()
  }

  /** The client has left, or a hook of the app took longer than `handshakeTimeout`. */
  #onGone = () => this.end('unfinished')

  /** @param status that of a refusal. Only one from 500 is an error of the server */
  end (outcome, { code, source, status } = {}) {
    if (this.#span === null) return
    this.#span.setAttribute('ws_auth.outcome', outcome)
    if (code) this.#span.setAttribute('ws_auth.code', code)
    if (source) this.#span.setAttribute('ws_auth.source', source)
    if (status >= 500) this.#span.setAttribute('error.type', code ?? String(status)).setStatus({ code: SpanStatusCode.ERROR })
    this.#span.end()
    this.#span = null
    this.#socket?.off('close', this.#onGone)
  }
}

/**
 * Makes a span for each handshake. It is the active one in the hooks after this one, in `verify`, `user` and `authorize`, and in the handler, but
 * not in listeners to messages, which come long after it. Call it before other hooks are added, so that it sees what these refuse.
 */
function traceHandshakes (app, tracer) {
  const handshakes = new WeakMap()

  app.addHook('onRequest', (request, reply, done) => {
    const { upgrade, connection } = request.raw.headers
    if (upgrade?.toLowerCase() !== 'websocket' || !/\bupgrade\b/i.test(connection)) return done()
    const handshake = new HandshakeSpan(tracer, request)
    handshakes.set(request.raw, handshake)
    context.with(handshake.context, done)
  })

  const onEvent = ({ event, code, source, route, dryRun }) => {
    const handshake = context.active().getValue(HANDSHAKE)
    if (handshake === undefined || dryRun || route !== handshake.route) return
    if (event === 'accepted') handshake.end('accepted', { source })
    if (event === 'refused') handshake.end('refused', { code, source, status: fastifyWsAuth.wsAuthErrors[code].statusCode })
  }
  subscribe(CHANNEL, onEvent)
  app.addHook('onClose', async () => { unsubscribe(CHANNEL, onEvent) })

  // The answers of other hooks, such as a rate limit, have no event. That of a deadline has one outside of the context of the request.
  app.addHook('onError', async (request, reply, { code }) => {
    const handshake = handshakes.get(request.raw)
    if (handshake) handshake.errorCode = code
  })
  app.addHook('onResponse', async (request, { statusCode }) => {
    const handshake = handshakes.get(request.raw)
    handshake?.end('refused', { code: handshake.errorCode ?? String(statusCode), status: statusCode })
  })

  // A connection of a public route is not authenticated, and has no event.
  app.addHook('onReady', async () => {
    let isPublic
    app.websocketServer.on('connection', (socket, request) => {
      isPublic ??= new Set(app.wsAuth.inspect().routes.filter(({ access }) => access === 'public').map(({ path }) => path))
      const handshake = handshakes.get(request)
      if (handshake && isPublic.has(handshake.route)) handshake.end('public')
    })
  })
}

/** The counts of each route, and at the end those of what reached no route. `countsOf` returns an object of numbers. */
function * byRoute ({ routes, ...total }, countsOf) {
  const rest = { ...countsOf(total) }
  for (const [route, counts] of Object.entries(routes)) {
    for (const [key, count] of Object.entries(countsOf(counts))) {
      yield [{ 'http.route': route }, key, count]
      rest[key] -= count
    }
  }
  for (const [key, count] of Object.entries(rest)) if (count > 0) yield [{}, key, count]
}

/** Makes the metrics of an app. All of them are read from one snapshot of `stats()` at each collection. */
function observeStats (app, meter) {
  const connections = meter.createObservableUpDownCounter('ws_auth.connections', { unit: '{connection}', description: 'Connections that are open' })
  const accepted = meter.createObservableCounter('ws_auth.accepted', { unit: '{connection}', description: 'Connections that were opened' })
  const renewed = meter.createObservableCounter('ws_auth.renewed', { unit: '{renewal}', description: 'Renewals that were accepted' })
  const refused = meter.createObservableCounter('ws_auth.refused', { unit: '{refusal}', description: 'Handshakes and renewals that were refused' })
  const closed = meter.createObservableCounter('ws_auth.closed', { unit: '{connection}', description: 'Connections that have ended' })
  const pending = meter.createObservableUpDownCounter('ws_auth.pending', { unit: '{handshake}', description: 'Handshakes, first messages and plain requests that wait' })
  const current = meter.createObservableGauge('ws_auth.backplane.current', { unit: '1', description: '1 if handshakes are answered, 0 in an outage of the backplane' })
  const age = meter.createObservableGauge('ws_auth.backplane.age', { unit: 's', description: 'How old the last reply of the backplane is' })
  const revocations = meter.createObservableGauge('ws_auth.backplane.revocations', { unit: '{revocation}', description: 'Revocations in memory' })

  const instruments = [connections, accepted, renewed, refused, closed, pending, current, age, revocations]
  const observe = (result) => {
    const stats = app.wsAuth.stats()
    const { backplane } = stats
    for (const [attributes, , count] of byRoute(stats, ({ connections }) => ({ connections }))) result.observe(connections, count, attributes)
    for (const [attributes, , count] of byRoute(stats, ({ accepted }) => ({ accepted }))) result.observe(accepted, count, attributes)
    for (const [attributes, , count] of byRoute(stats, ({ renewed }) => ({ renewed }))) result.observe(renewed, count, attributes)
    for (const [attributes, code, count] of byRoute(stats, ({ refused }) => refused)) result.observe(refused, count, { ...attributes, 'ws_auth.code': code })
    for (const [attributes, reason, count] of byRoute(stats, ({ closed }) => closed)) result.observe(closed, count, { ...attributes, 'ws_auth.reason': reason })
    result.observe(pending, stats.pending)
    result.observe(current, Number(backplane.isCurrent))
    // What is not known is no data point.
    if (backplane.age !== null) result.observe(age, backplane.age / 1000)
    result.observe(revocations, backplane.revocations)
  }
  meter.addBatchObservableCallback(observe, instruments)
  app.addHook('onClose', async () => { meter.removeBatchObservableCallback(observe, instruments) })
}

/**
 * The histograms of `stats()`, exact and cumulative, for the `metricProducers` of a metric reader: OpenTelemetry has no histogram that is
 * filled from outside. They are in seconds, as its conventions have them.
 */
function histogramsOf (app) {
  const startTime = instant()
  const histogram = (name, description, dataPoints) => ({
    descriptor: { name, description, unit: 's', valueType: ValueType.DOUBLE },
    dataPointType: DataPointType.HISTOGRAM,
    aggregationTemporality: AggregationTemporality.CUMULATIVE,
    dataPoints
  })
  return {
    async collect () {
      const endTime = instant()
      const routes = Object.entries(app.wsAuth.stats().routes)
      const point = (attributes, { bounds, counts, count, sum }) => ({
        attributes, startTime, endTime, value: { buckets: { boundaries: bounds.map((bound) => bound / 1000), counts }, count, sum: sum / 1000 }
      })
      const handshakes = routes.flatMap(([route, { durations }]) => ['accepted', 'refused'].map((outcome) =>
        point({ 'http.route': route, 'ws_auth.outcome': outcome }, durations[outcome])))
      const lives = routes.map(([route, { durations }]) => point({ 'http.route': route }, durations.closed))
      const metrics = [
        histogram('ws_auth.handshake.duration', 'How long handshakes took', handshakes),
        histogram('ws_auth.connection.duration', 'How long connections lived', lives)
      ]
      return { resourceMetrics: { scopeMetrics: [{ scope: SCOPE, metrics }] }, errors: [] }
    }
  }
}

/** Seconds and nanoseconds since the epoch, as OpenTelemetry has times. */
function instant () {
  const now = Date.now()
  return [Math.floor(now / 1000), now % 1000 * 1e6]
}

/** Starts OpenTelemetry for an app, and ends it with the app, after the last connection. In production put a BatchSpanProcessor in the place of the simple one. */
function startTelemetry (app, { spanProcessor = new SimpleSpanProcessor(new ConsoleSpanExporter()), metricExporter = new ConsoleMetricExporter() } = {}) {
  const tracers = new NodeTracerProvider({ spanProcessors: [spanProcessor] })
  // Without baggage, which a client could have sent on to other services.
  tracers.register({ propagator: new W3CTraceContextPropagator() })
  const meters = new MeterProvider({ readers: [new PeriodicExportingMetricReader({ exporter: metricExporter, metricProducers: [histogramsOf(app)] })] })
  traceHandshakes(app, tracers.getTracer(SCOPE.name))
  observeStats(app, meters.getMeter(SCOPE.name))
  // Hooks of this kind run from the last to the first: the metrics are read once more before they end.
  app.addHook('onClose', async () => { await Promise.all([tracers.shutdown(), meters.shutdown()]) })
  return { tracers, meters }
}

async function createApp (options) {
  const app = Fastify(options)
  startTelemetry(app)
  await app.register(fastifyWsAuth, { jwt: { secret: process.env.JWT_SECRET || 'a secret of thirty-two bytes, or more' } })
  app.get('/chat', { websocket: true }, (socket, request) => { socket.send(`hello ${request.user.sub}`) })
  return app
}

module.exports = { createApp, histogramsOf, observeStats, startTelemetry, traceHandshakes }

if (require.main === module) {
  createApp({ logger: true }).then((app) => app.listen({ port: Number(process.env.PORT ?? 3000) }))
}
