/*
 * The files of the page, and the headers that all answers have.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import type { FastifyInstance } from 'fastify'

/** Seen from where it is built to. */
const FOLDER = join(__dirname, '../../chat/public')
const TYPES: Record<string, string> = { '.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript', '.mjs': 'text/javascript' }

const HEADERS = {
  // Scripts and styles are files of this server. An injected one is neither.
  'content-security-policy': "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
  'cache-control': 'no-store',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY'
}

export function addPage (app: FastifyInstance): void {
  app.addHook('onRequest', async (_request, reply) => { reply.headers(HEADERS) })
  for (const name of readdirSync(FOLDER)) addFile(app, name === 'index.html' ? '/' : `/${name}`, join(FOLDER, name))
  // The client, as one ES module.
  addFile(app, '/client.mjs', require.resolve('fastify-ws-auth/client.mjs'))
}

function addFile (app: FastifyInstance, path: string, file: string): void {
  const content = readFileSync(file)
  app.get(path, async (_request, reply) => reply.type(`${TYPES[extname(file)]}; charset=utf-8`).send(content))
}
