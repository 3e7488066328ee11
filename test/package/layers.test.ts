/* Imports point down only, types too: each file may import what stands above it in this list, and nothing else of lib. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'

const layers = [
  'errors', 'thenable', 'reasons', 'header-list', 'server-listeners', 'fastify-internals', 'deadline', 'slices', 'min-heap', 'expiry', 'frozen', 'redaction', 'origin', 'route-path', 'authorization', 'frames', 'socket',
  'claims', 'claims-schema', 'jwt-format', 'quiet-log', 'backplane', 'revocations', 'memory-backplane', 'option-checks', 'match', 'options', 'opening-handshake', 'credentials', 'request-user',
  'near-misses', 'connection', 'connection-id', 'hint', 'socket-connection', 'connections', 'instance', 'limits', 'stats', 'audit', 'heartbeat',
  'token-view', 'token-verifier', 'jwt-secret', 'jwt-verifier', 'token-cache', 'tickets', 'types', 'steps', 'authentication',
  'upgrade', 'visibility', 'handshake', 'renewal', 'life', 'refusal', 'backlog', 'first-message', 'first-messages', 'routes', 'gate', 'shutdown',
  'ticket-route', 'logout-route',
  'redis/connection', 'redis/ioredis', 'redis/node-redis', 'redis/discretion', 'redis/client', 'redis/replies', 'redis/entries', 'redis/position', 'redis/keys', 'redis/asking', 'redis/server-check', 'redis/revoked-set', 'redis/presence',
  'redis/log-writer', 'redis/log-reader', 'redis/questions', 'redis/unsure-revocations', 'redis/outage-watch', 'redis/link', 'redis/index',
  'plugin', 'index'
]

/** What only one file may know. */
const owners: Record<string, string[]> = {
  '@fastify/jwt': ['jwt-secret', 'jwt-verifier', 'options', 'plugin'],
  '@fastify/cookie': ['options', 'plugin'],
  '@fastify/websocket': ['options', 'plugin'],
  'lru-cache': ['token-cache'],
  'fastify-plugin': ['index'],
  // The client is the app's own: its shape is known, in one place.
  ioredis: [],
  redis: []
}

const lib = join(__dirname, '..', 'lib')

function importsOf (name: string): string[] {
  const source = readFileSync(join(lib, `${name}.ts`), 'utf8')
  return [...source.matchAll(/(?:from|import\(|require\()\s*'([^']+)'/g)].map(([, specifier]) => specifier as string)
}

t.test('every file has its layer', async (t) => {
  const files = readdirSync(lib, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts')).map((file) => file.slice(0, -3))
  t.strictSame(files.sort(), [...layers].sort())
})

t.test('imports point down only', async (t) => {
  for (const [i, name] of layers.entries()) {
    for (const specifier of importsOf(name).filter((specifier) => specifier.startsWith('.'))) {
      const below = layers.slice(0, i)
      t.ok(below.includes(join(dirname(name), specifier)), `${name} imports ${specifier}`)
    }
  }
})

t.test('nothing but the public face of Redis knows of Redis', async (t) => {
  for (const name of layers.filter((name) => !name.startsWith('redis/'))) {
    t.notOk(importsOf(name).some((specifier) => specifier.includes('redis')), name)
  }
})

t.test('a library is known where it must be', async (t) => {
  for (const name of layers) {
    for (const specifier of importsOf(name)) {
      if (owners[specifier] !== undefined) t.ok(owners[specifier].includes(name), `${name} imports ${specifier}`)
    }
  }
})
