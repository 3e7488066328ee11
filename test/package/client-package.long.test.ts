/*
 * The client as a package of its own: packed, installed by npm into an empty folder, and used there by runtimes and compilers.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import Fastify from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { SECRET, sign } from '../helpers/app'
import { runAlone, runNode } from '../helpers/run-alone'

const ROOT = process.cwd()
const SOURCES = join(ROOT, 'test/package/client')
const [TSC_6, TSC_7] = [join(ROOT, 'node_modules/typescript/bin/tsc'), join(ROOT, 'node_modules/typescript-7/bin/tsc')] as const
const BUNDLER = ['--module', 'esnext', '--moduleResolution', 'bundler'] as const
const PROJECTS: Record<string, readonly [compiler: string, ...args: string[]]> = {
  'TypeScript 6, as CommonJS': [TSC_6, '--module', 'node16'],
  'TypeScript 7, as CommonJS': [TSC_7, '--module', 'node16'],
  'TypeScript 7, for a bundler': [TSC_7, ...BUNDLER]
}
const OWN = Number(process.versions.node.split('.')[0])
/** Has a WebSocket from 22 on, and in Node.js 20 by an option. */
const NODES = [20, 22, 24, 26].map((major) => ({ name: `Node.js ${major}`, program: process.env[`NODE_${major}_PATH`] || (major === OWN ? process.execPath : `node${major}`), args: major === 20 ? ['--experimental-websocket', '--no-warnings'] : [] }))
const RUNTIMES = [
  ...NODES,
  { name: 'Deno', program: process.env.DENO_PATH || 'deno', args: ['run', '--no-lock', '--no-prompt', '--allow-net', '--allow-read', '--allow-env'] },
  { name: 'Bun', program: process.env.BUN_PATH || 'bun', args: [] }
]

/** Why a runtime is not tested here, or `false`. In CI nothing is skipped: it fails. */
function reasonToSkip (name: string, program: string): string | false {
  if (process.env.CI === 'true' || spawnSync(program, ['--version']).status === 0) return false
  const reason = `NOT TESTED with ${name}: there is no ${program}. Install it (npm has it) or set ${name.split(' ')[0] === 'Node.js' ? `NODE_${name.slice(8)}` : name.toUpperCase()}_PATH`
  console.error(reason)
  return reason
}

async function startServer (t: Test): Promise<string> {
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET } })
  app.get('/', { websocket: true }, (socket) => { socket.on('message', (data) => socket.send(String(data))) })
  await app.listen({ port: 0, host: '127.0.0.1' })
  return `ws://127.0.0.1:${(app.server.address() as AddressInfo).port}/`
}

/** Packs the client, and installs it where nothing else is. */
async function install (folder: string): Promise<string> {
  const packed = await runNode(ROOT, 'lib/client/pack.mjs', folder)
  const tarball = packed.output.trim()
  if (packed.code !== 0) throw new Error(`the client cannot be packed: ${packed.output}`)
  writeFileSync(join(folder, 'package.json'), '{"private":true}')
  const installed = await runAlone('npm', ['install', '--offline', '--no-audit', '--no-fund', '--ignore-scripts', tarball], folder)
  if (installed.code !== 0) throw new Error(`npm install failed: ${installed.output}`)
  cpSync(SOURCES, folder, { recursive: true })
  return tarball
}

t.test('the client is a package of its own', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'client-package-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const tarball = await install(folder)
  const home = join(folder, 'node_modules/fastify-ws-auth-client')

  t.test('it has the files of the client, depends on nothing, and has the version of the server', async (t) => {
    const manifest = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8')) as Record<string, unknown>
    const { version, license } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Record<string, unknown>
    t.match(manifest, { name: 'fastify-ws-auth-client', version, license, sideEffects: false })
    for (const key of ['dependencies', 'peerDependencies', 'optionalDependencies', 'scripts']) t.equal(manifest[key], undefined, key)
    const files = readdirSync(home, { recursive: true, encoding: 'utf8' }).filter((file) => file.includes('.') || file === 'LICENSE').sort()
    const modules = readdirSync(join(ROOT, 'lib/client')).filter((file) => file.endsWith('.ts')).flatMap((file) => [file.replace(/ts$/, 'js'), file.replace(/ts$/, 'd.ts')])
    t.strictSame(files, ['LICENSE', 'README.md', 'package.json', ...[...modules, 'index.mjs', 'index.d.mts'].map((file) => join('dist', file))].sort())
    t.strictSame(readdirSync(join(folder, 'node_modules')).filter((name) => !name.startsWith('.')), ['fastify-ws-auth-client'], 'nothing else was installed')
  })

  t.test('its document names this package, and links to nothing that it does not have', async (t) => {
    const text = readFileSync(join(home, 'README.md'), 'utf8')
    t.match(text, 'from \'fastify-ws-auth-client\'')
    t.notMatch(text, /'fastify-ws-auth\/client'/)
    t.strictSame([...text.matchAll(/\]\((?!https?:|#)[^)]*\)/g)].map(([link]) => link), [])
  })

  t.test('nothing in it refers to Node.js', async (t) => {
    for (const file of readdirSync(join(home, 'dist'))) {
      // Comments may name a library.
      const source = readFileSync(join(home, 'dist', file), 'utf8').replace(/\/\*[^]*?\*\/|(?<!:)\/\/.*/g, '')
      t.notMatch(source, /\bprocess\b|\bBuffer\b|node:|\bglobal\.|NodeJS|setImmediate|__dirname|\/\/\/ <reference/, file)
      for (const [, name] of source.matchAll(/(?:require\(|from |import\()["']([^"']+)/g)) t.match(name, /^\.\//, `${file}: ${name}`)
    }
    t.notMatch(readFileSync(join(home, 'dist/index.mjs'), 'utf8'), /require|from ["']/, 'the ES module is one file')
  })

  t.test('publint finds nothing', async (t) => {
    const { code, output } = await runNode(ROOT, 'node_modules/publint/src/cli.js', 'run', tarball, '--strict', '--level', 'warning')
    t.equal(code, 0, output)
  })

  t.test('a CommonJS module requires it', async (t) => {
    const { output } = await runNode(folder, '-e', 'console.log(Object.keys(require("fastify-ws-auth-client")).sort().join())')
    t.equal(output.trim(), 'WsAuthClientError,connect,webSocketClass')
  })

  t.test('a runtime without a WebSocket imports it', async (t) => {
    writeFileSync(join(folder, 'without.mjs'), 'delete globalThis.WebSocket\nawait import(\'./use.mjs\')\n')
    const { output } = await runNode(folder, 'without.mjs')
    t.equal(output.trim(), '["function","function","function","no WebSocket"]')
  })

  for (const { name, program, args } of RUNTIMES) {
    t.test(`it connects in ${name}`, { skip: reasonToSkip(name, program) }, async (t) => {
      const url = await startServer(t)
      const { code, output } = await runAlone(program, [...args, 'use.mjs', url, sign()], folder)
      t.equal(output.trim(), '["function","function","function","hello","closed",true,4001]')
      t.equal(code, 0)
    })
  }

  for (const [name, [path, ...args]] of Object.entries(PROJECTS)) {
    t.test(`its types compile without the DOM and Node.js: ${name}`, async (t) => {
      const { code, output } = await runNode(folder, path, '--noEmit', '--strict', '--target', 'es2020', '--lib', 'es2020', ...args, 'typed.ts')
      t.strictSame([output, code], ['', 0])
    })
  }

  t.test('its class takes the place of a WebSocket in graphql-ws, tRPC and y-websocket', async (t) => {
    for (const name of ['@trpc/client', '@trpc/server', 'graphql-ws', 'graphql', 'y-websocket', 'yjs', 'lib0', 'y-protocols']) {
      mkdirSync(dirname(join(folder, 'node_modules', name)), { recursive: true })
      symlinkSync(join(ROOT, 'node_modules', name), join(folder, 'node_modules', name))
    }
    const { code, output } = await runNode(folder, TSC_7, '--noEmit', '--strict', '--target', 'es2022', '--lib', 'es2022,dom', '--skipLibCheck', ...BUNDLER, 'libraries.ts')
    t.strictSame([output, code], ['', 0])
  })
})
