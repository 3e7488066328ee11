/*
 * The package as npm would install it: packed, unpacked beside nothing but what it declares, and used from there.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, parse } from 'node:path'
import t from 'tap'
import { runAlone, runNode } from '../helpers/run-alone'

const ROOT = process.cwd()

const COMPILERS = {
  'TypeScript 6': join(ROOT, 'node_modules/typescript/bin/tsc'),
  'TypeScript 7': join(ROOT, 'node_modules/typescript-7/bin/tsc')
}

interface Manifest {
  readonly main: string
  readonly types: string
  readonly dependencies: Record<string, string>
  readonly peerDependencies: Record<string, string>
}

/** Packs the package into a folder. Returns the paths of the tarball and of the files in it. */
async function pack (folder: string): Promise<{ tarball: string, files: string[] }> {
  if (!existsSync(join(ROOT, 'dist/index.js'))) throw new Error('the package is not built: npm run build')
  const { code, output } = await runAlone('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder], ROOT)
  const name = readdirSync(folder).find((name) => name.endsWith('.tgz'))
  if (code !== 0 || name === undefined) throw new Error(`npm pack failed: ${output}`)
  const tarball = join(folder, name)
  const listed = await runAlone('tar', ['-tzf', tarball], folder)
  return { tarball, files: listed.output.trim().split('\n').map((path) => path.replace(/^package\//, '')).sort() }
}

/** A project with the packed package in it, its dependencies, and the types of Node and ws: what a user installs. */
async function createConsumer (folder: string, tarball: string): Promise<Manifest> {
  const modules = join(folder, 'node_modules')
  const target = join(modules, 'fastify-ws-auth')
  mkdirSync(target, { recursive: true })
  const unpacked = await runAlone('tar', ['-xzf', tarball, '--strip-components', '1', '-C', target], folder)
  if (unpacked.code !== 0) throw new Error(`tar failed: ${unpacked.output}`)
  const manifest = JSON.parse(readFileSync(join(target, 'package.json'), 'utf8')) as Manifest
  for (const name of [...Object.keys(manifest.dependencies), ...Object.keys(manifest.peerDependencies), '@types/node']) {
    mkdirSync(dirname(join(modules, name)), { recursive: true })
    symlinkSync(join(ROOT, 'node_modules', name), join(modules, name))
  }
  return manifest
}

function filesUnder (folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
}

/** Registers the plugin and asks for a dry run without a token and with one. */
const USE = `
async function use (fastifyWsAuth, options) {
  const app = Fastify()
  await app.register(fastifyWsAuth, { jwt: { secret: 'a secret of thirty-two bytes at the least' }, ...options })
  app.get('/', { websocket: true }, () => {})
  await app.ready()
  const authorization = 'Bearer ' + app.jwt.sign({ sub: 'ann' })
  const refused = await app.inject('/')
  const accepted = await app.inject({ url: '/', headers: { authorization } })
  await app.close()
  return [refused.statusCode, accepted.statusCode, app.hasPlugin('@fastify/cookie')]
}
`

/** Compiles only where every type is as it should be: a directive that suppresses nothing is an error too. */
const TYPED = `
import Fastify from 'fastify'
import fastifyWsAuth, { fastifyWsAuth as named, memoryBackplane, WsAuthError, wsAuthErrors } from 'fastify-ws-auth'
import type { Backplane, Connection, WsAuthOptions } from 'fastify-ws-auth'
import { redisBackplane } from 'fastify-ws-auth/redis'
import type { RedisClient } from 'fastify-ws-auth/redis'
import { testServer } from 'fastify-ws-auth/client/testing'
import { expectClose, moveClock, signIn } from 'fastify-ws-auth/testing'
import type { SignedIn } from 'fastify-ws-auth/testing'

declare module 'fastify-ws-auth' { interface WsAuthTypes { role: 'admin' | 'member' } }
declare module '@fastify/jwt' { interface FastifyJWT { user: { sub: string } } }

const options: WsAuthOptions = { jwt: { secret: 'secret' }, token: { cookie: false } }
const app = Fastify()
app.register(fastifyWsAuth, options)
app.register(named, options)
app.get('/', { websocket: true, wsAuth: { roles: ['admin'] } }, (socket, request) => {
  const connection: Connection | null = request.wsAuth
  socket.send(request.user.sub + String(connection?.id))
})
// @ts-expect-error a role that is not among those of WsAuthTypes
app.get('/', { websocket: true, wsAuth: { roles: ['admn'] } }, () => {})
// @ts-expect-error a word that wsAuth does not know
app.get('/', { websocket: true, wsAuth: 'yes' }, () => {})
// @ts-expect-error a user has no such property
app.get('/', { websocket: true }, (socket, request) => { socket.send(request.user.email) })
declare const client: RedisClient
const backplane: Backplane = Math.random() < 0.5 ? memoryBackplane() : redisBackplane({ client, staleAfter: 1000 })
app.register(fastifyWsAuth, { ...options, backplane })
void app.wsAuth.revoke({ sub: 'ann' }).then(({ closed, instances }) => { console.log(closed, instances.map(({ id }) => id)) })
void signIn(app, { sub: 'ann' }).then(async (ann: SignedIn) => { await expectClose(await app.injectWS('/', ann), 'token_expired') })
void moveClock(1000).then((clock) => { clock.restore() })
void testServer().then(async (server) => { await server.token(1000); await server.close() })
const error: WsAuthError = new WsAuthError('WS_AUTH_FORBIDDEN')
const status: number = wsAuthErrors[error.code].statusCode
console.log(status)
`

const REQUIRED = `
import Fastify = require('fastify')
import fastifyWsAuth = require('fastify-ws-auth')

const options: fastifyWsAuth.WsAuthOptions = { jwt: { secret: 'secret' } }
Fastify().register(fastifyWsAuth, options)
const error: fastifyWsAuth.WsAuthError = new fastifyWsAuth.WsAuthError('WS_AUTH_FORBIDDEN')
console.log(error)
`

t.test('the packed package installs and works', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'package-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const { tarball, files } = await pack(folder)
  const manifest = await createConsumer(folder, tarball)

  t.test('the package holds the built files of lib, the documents that its README links to, and nothing else', async (t) => {
    const linked = readFileSync(join(ROOT, 'README.md'), 'utf8').matchAll(/\]\((?!https?:)([^)#]+)/g)
    const documents = new Set([...linked].map(([, path = '']) => path))
    const modules = filesUnder(join(ROOT, 'lib'))
      .filter((path) => path.endsWith('.ts'))
      .map((path) => join('dist', parse(path).dir, parse(path).name))
    // Without the modules that are in the bundle alone.
    const built = [...modules.map((path) => `${path}.d.ts`), ...modules.map((path) => `${path}.js`).filter((path) => files.includes(path))]
    // The bundles, of the main entry and of the client for ES modules.
    built.push('dist/bundle.js', 'dist/client/index.mjs', 'dist/client/index.d.mts')
    t.strictSame(files, [...new Set(['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json', ...documents, ...built])].sort())
    t.ok(files.includes(join(manifest.main)), 'main')
    t.ok(files.includes(join(manifest.types)), 'types')
  })

  t.test('the main entry is loaded from two files, and the other entries share its modules', async (t) => {
    writeFileSync(join(folder, 'loads.cjs'), `
      const { join } = require('node:path')
      const own = () => Object.keys(require.cache).filter((path) => path.includes(join('fastify-ws-auth', 'dist'))).map((path) => path.split('dist').at(-1).slice(1))
      require('fastify-ws-auth')
      const first = own()
      require('fastify-ws-auth/redis')
      require('fastify-ws-auth/testing')
      const bundles = own().filter((path) => path === 'bundle.js')
      const folder = join(require.resolve('fastify-ws-auth'), '..')
      const shared = require(join(folder, 'base/checks.js')) === require(join(folder, 'bundle.js'))['base/checks']
      console.log(JSON.stringify({ first, bundles, shared }))
    `)
    const { code, output } = await runNode(folder, 'loads.cjs')
    t.strictSame(JSON.parse(output), { first: ['index.js', 'bundle.js'], bundles: ['bundle.js'], shared: true })
    t.equal(code, 0)
  })

  t.test('an ES module imports the package by default and by name', async (t) => {
    writeFileSync(join(folder, 'use.mjs'), `
      import Fastify from 'fastify'
      import fastifyWsAuth, { fastifyWsAuth as named, WsAuthError, wsAuthErrors } from 'fastify-ws-auth'
      ${USE}
      console.log(JSON.stringify([named === fastifyWsAuth, new WsAuthError('WS_AUTH_FORBIDDEN').statusCode,
        wsAuthErrors.WS_AUTH_FORBIDDEN.statusCode, await use(fastifyWsAuth), await use(named)]))
    `)
    const { code, output } = await runNode(folder, 'use.mjs')
    t.equal(output.trim(), '[true,403,403,[401,426,true],[401,426,true]]')
    t.equal(code, 0)
  })

  t.test('a CommonJS module requires the package as a function with its names', async (t) => {
    writeFileSync(join(folder, 'use.cjs'), `
      const Fastify = require('fastify')
      const fastifyWsAuth = require('fastify-ws-auth')
      ${USE}
      use(fastifyWsAuth).then((used) => {
        console.log(JSON.stringify([typeof fastifyWsAuth, Object.keys(fastifyWsAuth), fastifyWsAuth.default === fastifyWsAuth,
          fastifyWsAuth.fastifyWsAuth === fastifyWsAuth, new fastifyWsAuth.WsAuthError('WS_AUTH_FORBIDDEN').statusCode, used]))
      })
    `)
    const { code, output } = await runNode(folder, 'use.cjs')
    t.strictSame(JSON.parse(output), ['function', ['default', 'fastifyWsAuth', 'WsAuthError', 'wsAuthErrors', 'memoryBackplane', 'WebSocket', 'connectionOf', 'readers', 'revokeLostKeys'], true, true, 403, [401, 426, true]])
    t.equal(code, 0)
  })

  t.test('the package has the backplane for Redis as a second entry, which imports no client', async (t) => {
    const use = 'try { redisBackplane({ client: {} }) } catch ({ name, message }) { console.log(name, message) }'
    writeFileSync(join(folder, 'redis.mjs'), `import { redisBackplane } from 'fastify-ws-auth/redis'\n${use}`)
    writeFileSync(join(folder, 'redis.cjs'), `const { redisBackplane } = require('fastify-ws-auth/redis')\n${use}`)
    for (const file of ['redis.mjs', 'redis.cjs']) {
      const { output } = await runNode(folder, file)
      t.equal(output.trim(), 'TypeError "client" option must be a client of ioredis, iovalkey or node-redis', file)
    }
    for (const file of files.filter((file) => file.endsWith('.js'))) {
      const source = readFileSync(join(folder, 'node_modules/fastify-ws-auth', file), 'utf8')
      t.notMatch(source, /require\("(?:ioredis|redis|iovalkey|@redis)/, file)
    }
  })

  t.test('the package has the modules for tests, from CommonJS and from an ES module', async (t) => {
    const names = '{ blackhole, expectClose, moveClock, restartable, restoreClock, signIn }'
    const use = `
      async function use () {
        const server = await testServer()
        const { token } = await signIn(server.app, { sub: 'ann' })
        const socket = await server.app.injectWS('/', { headers: { authorization: 'Bearer ' + token } })
        await moveClock(3600000)
        const { reason } = await expectClose(socket, 'token_expired')
        restoreClock()
        await server.close()
        console.log(reason, typeof blackhole, typeof restartable)
      }
      use()`
    writeFileSync(join(folder, 'testing.mjs'), `import { testServer } from 'fastify-ws-auth/client/testing'\nimport ${names} from 'fastify-ws-auth/testing'\n${use}`)
    writeFileSync(join(folder, 'testing.cjs'), `const { testServer } = require('fastify-ws-auth/client/testing')\nconst ${names} = require('fastify-ws-auth/testing')\n${use}`)
    for (const file of ['testing.mjs', 'testing.cjs']) {
      const { output } = await runNode(folder, file)
      t.equal(output.trim(), 'token_expired function function', file)
    }
  })

  t.test('the package calls no import() if no cookie is configured, and so runs under Jest', async (t) => {
    // Jest's CommonJS mode has no import(); @fastify/cookie calls it as soon as it is registered. Nothing else does.
    writeFileSync(join(folder, 'no-import.cjs'), `
      const { Script } = require('node:vm')
      const { wrap } = require('node:module')
      // As Jest does it: a script that is given no importModuleDynamically throws at an import().
      require.extensions['.js'] = (module, filename) => {
        const source = require('node:fs').readFileSync(filename, 'utf8')
        const load = new Script(wrap(source), { filename }).runInThisContext()
        load.call(module.exports, module.exports, module.require.bind(module), module, filename, require('node:path').dirname(filename))
      }
      const Fastify = require('fastify')
      const fastifyWsAuth = require('fastify-ws-auth')
      async function register (options) {
        const app = Fastify()
        app.register(fastifyWsAuth, { jwt: { secret: 'a secret of thirty-two bytes at the least' }, ...options })
        return await app.ready().then(() => app.close()).then(() => 'ready', (error) => error.code)
      }
      Promise.all([register({ token: { cookie: false } }), register({})]).then((used) => console.log(JSON.stringify(used)))
    `)
    const { output } = await runNode(folder, 'no-import.cjs')
    t.strictSame(JSON.parse(output), ['ready', 'ERR_VM_DYNAMIC_IMPORT_CALLBACK_MISSING'])
  })

  t.test('no declaration has type arguments of an EventEmitter, which differ from @types/node 20 to 26', async (t) => {
    for (const file of files.filter((file) => file.endsWith('.d.ts'))) {
      t.notMatch(readFileSync(join(folder, 'node_modules/fastify-ws-auth', file), 'utf8'), /\bEventEmitter</, file)
    }
  })

  writeFileSync(join(folder, 'typed.cts'), TYPED)
  writeFileSync(join(folder, 'typed.mts'), TYPED)
  writeFileSync(join(folder, 'typed.ts'), TYPED)
  writeFileSync(join(folder, 'required.cts'), REQUIRED)
  const projects = {
    'node16, from CommonJS and from an ES module': ['--module', 'node16', 'typed.cts', 'required.cts', 'typed.mts'],
    'a bundler': ['--module', 'esnext', '--moduleResolution', 'bundler', 'typed.ts']
  }
  for (const [compiler, path] of Object.entries(COMPILERS)) {
    for (const [project, args] of Object.entries(projects)) {
      t.test(`the types of the package compile for ${project}, in ${compiler}`, async (t) => {
        const { code, output } = await runNode(folder, path, '--noEmit', '--strict', '--target', 'es2022', '--types', 'node', ...args)
        t.equal(output, '')
        t.equal(code, 0)
      })
    }
  }
})
