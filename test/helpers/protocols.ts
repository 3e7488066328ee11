/*
 * The protocols that a server of Fastify speaks, and a client of each that asks one plain request on a connection of its own.
 */
import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyServerOptions } from 'fastify'
import { within } from './app'
import { CERTIFICATE, KEY } from './certificate'

export interface PlainRequest {
  readonly method?: string
  readonly path: string
  readonly headers?: Record<string, string>
  readonly body?: string
}

export interface PlainAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** A request that was sent, and is waited for. */
export interface PendingRequest {
  /** Rejects if the connection ends before the answer is complete. */
  readonly answer: Promise<PlainAnswer>
  /** The client leaves: the stream is reset (HTTP/2) or the connection is cut (HTTP/1.1). */
  readonly abort: () => void
}

/** A server's protocol, and the client's. */
export interface Protocol {
  readonly name: string
  /** What Fastify is made with. */
  readonly server: FastifyServerOptions
  readonly scheme: 'http' | 'https'
  readonly isHttp2: boolean
}

const TLS = { key: KEY, cert: CERTIFICATE }

/** How long an answer may take, in milliseconds. */
const TIMEOUT = 60_000

/** The types of Fastify have one set of options for each kind of server. */
function server (options: object): FastifyServerOptions {
  return options
}

export const PROTOCOLS: readonly Protocol[] = [
  { name: 'HTTP/1.1', server: {}, scheme: 'http', isHttp2: false },
  { name: 'HTTP/1.1 with TLS', server: server({ https: TLS }), scheme: 'https', isHttp2: false },
  { name: 'HTTP/2 in cleartext', server: server({ http2: true }), scheme: 'http', isHttp2: true },
  { name: 'HTTP/2 with TLS', server: server({ http2: true, https: TLS }), scheme: 'https', isHttp2: true },
  { name: 'HTTP/2 with a server that allows HTTP/1.1', server: server({ http2: true, https: { ...TLS, allowHTTP1: true } }), scheme: 'https', isHttp2: true },
  { name: 'HTTP/1.1 with a server of HTTP/2 that allows it', server: server({ http2: true, https: { ...TLS, allowHTTP1: true } }), scheme: 'https', isHttp2: false }
]

/** Those of {@link PROTOCOLS} whose clients speak HTTP/2. */
export const HTTP2_PROTOCOLS = PROTOCOLS.filter(({ isHttp2 }) => isHttp2)

/** Sends a request. */
export function request (protocol: Protocol, port: number, plain: PlainRequest): PendingRequest {
  return protocol.isHttp2 ? requestHttp2(protocol, port, plain) : requestHttp1(protocol, port, plain)
}

/** Sends a request and resolves to its answer. */
export async function ask (protocol: Protocol, port: number, plain: PlainRequest): Promise<PlainAnswer> {
  const { answer, abort } = request(protocol, port, plain)
  return await within(TIMEOUT, `an answer to ${plain.method ?? 'GET'} ${plain.path}`, answer).finally(abort)
}

/** A session of HTTP/2 whose errors are those of its streams. */
export function openSession ({ scheme }: Protocol, port: number): http2.ClientHttp2Session {
  const session = http2.connect(`${scheme}://127.0.0.1:${port}`, { rejectUnauthorized: false })
  session.on('error', () => {})
  return session
}

/** Sends a request on a session that is open, or about to be. */
export function requestOn (session: http2.ClientHttp2Session, { method = 'GET', path, headers = {}, body }: PlainRequest): PendingRequest {
  const stream = session.request({ ':path': path, ':method': method, ...headers }, { endStream: body === undefined })
  const abort = (): void => stream.close(http2.constants.NGHTTP2_CANCEL)
  if (body !== undefined) stream.end(body)
  return { answer: readStream(stream), abort }
}

function requestHttp2 (protocol: Protocol, port: number, plain: PlainRequest): PendingRequest {
  const session = openSession(protocol, port)
  const { answer, abort } = requestOn(session, plain)
  return { answer: answer.finally(() => session.destroy()), abort: () => { abort(); session.close() } }
}

async function readStream (stream: http2.ClientHttp2Stream): Promise<PlainAnswer> {
  const answered = new Promise<IncomingHttpHeaders & { ':status'?: number }>((resolve, reject) => {
    stream.once('response', resolve)
    stream.once('error', reject)
    stream.once('close', () => reject(new Error(`the stream was closed without an answer: ${stream.rstCode}`)))
  })
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  const { ':status': status = 0, ...headers } = await answered
  if (!stream.closed) await once(stream, 'close')
  return { status, headers, body: Buffer.concat(chunks).toString() }
}

function requestHttp1 ({ scheme }: Protocol, port: number, { method = 'GET', path, headers = {}, body }: PlainRequest): PendingRequest {
  const { request: send } = scheme === 'https' ? https : http
  const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }
  const settings = { port, host: '127.0.0.1', method, path, headers: { ...headers, ...length }, agent: false as const, rejectUnauthorized: false }
  const sent = send(settings)
  sent.end(body)
  return { answer: readResponse(sent), abort: () => { sent.destroy() } }
}

async function readResponse (sent: http.ClientRequest): Promise<PlainAnswer> {
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    sent.once('response', resolve)
    sent.on('error', reject)
  })
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk as Buffer)
  return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks).toString() }
}
