/*
 * The recipe for OpenTelemetry, with the SDK and its exporters in memory: each handshake is a span that ends, and what `stats()` has is metrics.
 */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { SpanStatusCode, trace } from '@opentelemetry/api'
import { AggregationTemporality, InMemoryMetricExporter } from '@opentelemetry/sdk-metrics'
import type { DataPoint, Histogram, MeterProvider } from '@opentelemetry/sdk-metrics'
import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import type { ReadableSpan, SpanProcessor } from '@opentelemetry/sdk-trace-node'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type fastifyWsAuth from '../../lib/index'
import { buildPackage, startFile } from '../helpers/example'
import { sign } from '../helpers/app'

const ROOT = process.cwd()
const RECIPE_SECRET = 'a secret of thirty-two bytes, or more'
const [TRACE, PARENT] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331']

interface Recipe {
  startTelemetry (app: FastifyInstance, exporters: { spanProcessor: SpanProcessor, metricExporter: InMemoryMetricExporter }): { meters: MeterProvider }
}

t.before(buildPackage)

/** The last data points of a metric, by their attributes. */
function pointsOf (exporter: InMemoryMetricExporter, name: string): Record<string, unknown> {
  const scopes = exporter.getMetrics().at(-1)?.scopeMetrics ?? []
  const found = scopes.flatMap(({ metrics }) => metrics).find(({ descriptor }) => descriptor.name === name)
  return Object.fromEntries((found?.dataPoints as Array<DataPoint<unknown>> | undefined ?? []).map(({ attributes, value }) => [Object.values(attributes).join(' '), value]))
}

/** The app of the test: `verify` answers at once, later or never, as its token says. */
async function start (t: Test) {
  const recipe = require(join(ROOT, 'example/recipes/opentelemetry.js')) as Recipe
  const plugin = require(join(ROOT, 'dist/index.js')) as typeof fastifyWsAuth
  const exporter = new InMemorySpanExporter()
  const metrics = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const seen: Record<string, string | undefined> = {}
  let onAsked = (): void => {}
  const asked = new Promise<void>((resolve) => { onAsked = resolve })
  const app = Fastify()
  t.teardown(() => app.close())
  const { meters } = recipe.startTelemetry(app, { spanProcessor: new SimpleSpanProcessor(exporter), metricExporter: metrics })
  app.addHook('onRequest', async (request, reply) => { if (request.headers['x-limited'] !== undefined) return await reply.code(429).send('too many') })
  await app.register(plugin, {
    handshakeTimeout: 1000,
    async verify (token) {
      seen.verify = trace.getActiveSpan()?.spanContext().spanId
      if (token === 'broken') throw new Error('the issuer does not answer')
      if (token !== 'slow' && token !== 'stuck') return { sub: token }
      if (token === 'slow') onAsked()
      return await new Promise(() => {})
    }
  })
  app.get('/chat', { websocket: true }, async (socket) => {
    await sleep(1)
    seen.handler = trace.getActiveSpan()?.spanContext().spanId
    socket.on('message', () => { socket.send(String(trace.getActiveSpan())) }).send('hello')
  })
  app.get('/closes', { websocket: true, wsAuth: { rejectWith: 'close' } }, () => {})
  app.get('/first', { websocket: true, wsAuth: { token: { message: { timeout: 1000, maxBytes: 1000 } } } }, (socket) => { socket.send('hello') })
  app.get('/public', { websocket: true, wsAuth: false }, (socket) => { socket.send('hello') })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const spans = exporter.getFinishedSpans.bind(exporter)
  /** The span that ends next. */
  const next = async (): Promise<ReadableSpan> => {
    const deadline = Date.now() + 10_000
    while (spans().length === 0 && Date.now() < deadline) await sleep(5)
    const [span, ...more] = spans()
    t.ok(span, 'a span has ended')
    t.strictSame(more, [], 'one span')
    exporter.reset()
    return span as ReadableSpan
  }
  const connect = (path: string, token?: string, headers: Record<string, string> = {}): WebSocket => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers: { ...token === undefined ? {} : { authorization: `Bearer ${token}` }, ...headers } })
    t.teardown(() => socket.terminate())
    return socket.on('error', () => {})
  }
  return { app, port, connect, next, spans, asked, seen, metrics, flush: () => meters.forceFlush() }
}

t.test('each handshake is a span, which ends with the handshake', async (t) => {
  const { app, port, connect, next, spans, asked, seen, metrics, flush } = await start(t)

  await t.test('an accepted one is the child of its traceparent, and is active in verify and in the handler', async (t) => {
    const socket = connect('/chat', 'ann', { traceparent: `00-${TRACE}-${PARENT}-01`, baggage: 'a=b' })
    t.equal(String((await once(socket, 'message'))[0]), 'hello')
    const span = await next()
    t.equal(socket.readyState, WebSocket.OPEN, 'it ends before the connection')
    t.strictSame([span.name, span.kind, span.status], ['websocket handshake /chat', 1, { code: SpanStatusCode.UNSET }])
    t.strictSame(span.attributes, { 'http.route': '/chat', 'ws_auth.outcome': 'accepted', 'ws_auth.source': 'header' })
    t.strictSame([span.spanContext().traceId, span.parentSpanContext?.spanId], [TRACE, PARENT])
    t.strictSame(seen, { verify: span.spanContext().spanId, handler: span.spanContext().spanId })
    socket.send('which span?')
    t.equal(String((await once(socket, 'message'))[0]), 'undefined', 'a message is not part of the handshake')
    t.strictSame(spans(), [])
  })

  await t.test('a refused one has the code of the refusal, whether it is answered by a status or by a close', async (t) => {
    await once(connect('/chat'), 'error')
    const { attributes, status, parentSpanContext } = await next()
    t.strictSame(attributes, { 'http.route': '/chat', 'ws_auth.outcome': 'refused', 'ws_auth.code': 'WS_AUTH_TOKEN_MISSING' })
    t.strictSame([status, parentSpanContext], [{ code: SpanStatusCode.UNSET }, undefined], 'a client without a token is no error of the server')
    t.equal((await once(connect('/closes'), 'close'))[0], 3000)
    t.strictSame((await next()).attributes, { 'http.route': '/closes', 'ws_auth.outcome': 'refused', 'ws_auth.code': 'WS_AUTH_TOKEN_MISSING' })
    await once(connect('/nowhere', 'ann'), 'error')
    t.match((await next()), { name: 'websocket handshake', attributes: { 'ws_auth.outcome': 'refused' } })
    await once(connect('/chat', 'ann', { 'x-limited': '1' }), 'error')
    t.strictSame((await next()).attributes, { 'http.route': '/chat', 'ws_auth.outcome': 'refused', 'ws_auth.code': '429' }, 'an answer of another hook')
  })

  await t.test('a failure of the server is an error', async (t) => {
    for (const token of ['broken', 'stuck']) {
      await once(connect('/chat', token), 'error')
      const { attributes, status } = await next()
      t.match(attributes, { 'ws_auth.outcome': 'refused', 'ws_auth.code': 'WS_AUTH_UNAVAILABLE', 'error.type': 'WS_AUTH_UNAVAILABLE' }, token)
      t.strictSame(status, { code: SpanStatusCode.ERROR })
    }
  })

  await t.test('one whose client leaves during verify ends with its socket', async (t) => {
    const socket = connect('/chat', 'slow')
    await asked
    t.strictSame(spans(), [])
    socket.terminate()
    const { attributes, status } = await next()
    t.strictSame([attributes, status], [{ 'http.route': '/chat', 'ws_auth.outcome': 'unfinished' }, { code: SpanStatusCode.UNSET }])
  })

  await t.test('one with a first message ends with that message, with its deadline, or with its socket', async (t) => {
    const accepted = connect('/first')
    await once(accepted, 'open')
    t.strictSame(spans(), [])
    accepted.send(JSON.stringify({ type: 'auth', token: 'ann' }))
    await once(accepted, 'message')
    t.match((await next()).attributes, { 'ws_auth.outcome': 'accepted', 'ws_auth.source': 'message' })
    await once(connect('/first'), 'close')
    t.match((await next()).attributes, { 'ws_auth.outcome': 'refused', 'ws_auth.code': 'WS_AUTH_TIMEOUT' })
    const long = connect('/first')
    await once(long, 'open')
    long.send('x'.repeat(2000))
    t.match((await next()).attributes, { 'ws_auth.outcome': 'refused', 'ws_auth.code': 'WS_AUTH_TOKEN_INVALID' })
    const gone = connect('/first')
    await once(gone, 'open')
    gone.terminate()
    t.match((await next()).attributes, { 'ws_auth.outcome': 'unfinished' })
  })

  await t.test('one of a public route ends before the handler', async (t) => {
    const socket = connect('/public')
    await once(socket, 'message')
    t.strictSame((await next()).attributes, { 'http.route': '/public', 'ws_auth.outcome': 'public' })
    t.equal(socket.readyState, WebSocket.OPEN)
  })

  await t.test('a plain request is none', async (t) => {
    t.equal((await fetch(`http://127.0.0.1:${port}/chat`)).status, 401)
    t.strictSame(spans(), [])
  })

  await t.test('the metrics are those of stats(), and the last ones are exported when the app closes', async (t) => {
    await flush()
    t.match(pointsOf(metrics, 'ws_auth.connections'), { '/chat': 1, '/closes': 0, '/first': 1 })
    t.match(pointsOf(metrics, 'ws_auth.accepted'), { '/chat': 1, '/first': 1 })
    t.match(pointsOf(metrics, 'ws_auth.refused'), { '/chat WS_AUTH_TOKEN_MISSING': 1, '/chat WS_AUTH_UNAVAILABLE': 2, '/chat WS_AUTH_BUSY': 0, '/first WS_AUTH_TIMEOUT': 1 })
    t.match(pointsOf(metrics, 'ws_auth.closed'), { '/chat shutdown': 0 })
    t.match([pointsOf(metrics, 'ws_auth.pending'), pointsOf(metrics, 'ws_auth.backplane.current'), pointsOf(metrics, 'ws_auth.backplane.age')], [{ '': 0 }, { '': 1 }, {}])
    const { accepted } = app.wsAuth.stats().routes['/chat']?.durations ?? {}
    t.ok(accepted)
    const histogram = pointsOf(metrics, 'ws_auth.handshake.duration')['/chat accepted'] as Histogram
    t.strictSame([histogram.count, (histogram.sum ?? NaN) * 1000, histogram.buckets.counts], [1, accepted?.sum, accepted?.counts])
    t.equal(histogram.buckets.boundaries.at(-1), 10)
    t.match(pointsOf(metrics, 'ws_auth.handshake.duration'), { '/chat refused': { count: 3 } })
    const exported = JSON.stringify(metrics.getMetrics().at(-1)?.scopeMetrics)
    t.notMatch(exported, /\bann\b|127\.0\.0\.1/)
    await app.close()
    t.match(pointsOf(metrics, 'ws_auth.closed'), { '/chat shutdown': 1, '/first shutdown': 1 })
    t.match(pointsOf(metrics, 'ws_auth.connection.duration'), { '/chat': { count: 1 } })
  })
})

t.test('the recipe prints spans, without tokens and users', async (t) => {
  const { url, output, stop } = await startFile(t, 'recipes/opentelemetry.js')
  const token = sign({ sub: 'ann-of-the-span' }, RECIPE_SECRET)
  const socket = new WebSocket(`${url.replace('http', 'ws')}/chat?token=${token}`)
  t.teardown(() => socket.terminate())
  await once(socket, 'message')
  await once(new WebSocket(`${url.replace('http', 'ws')}/chat`), 'error')
  await stop()
  const spans = output().split('\n').filter((line) => !line.startsWith('{"level"')).join('\n')
  t.match(spans, /'ws_auth\.outcome': 'accepted',\s+'ws_auth\.source': 'query'/)
  t.match(spans, /'ws_auth\.outcome': 'refused'/)
  t.notMatch(spans, /eyJ|ann-of-the-span/)
})
