/*
 * Packs the client as a package of its own, for front ends that do not install the server: `npm run pack:client -- <folder>` writes
 * fastify-ws-auth-client-<version>.tgz into the folder, the present one by default. The files are those of `npm run build`.
 */
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))
const built = join(root, 'dist/client')
if (!existsSync(join(built, 'index.mjs'))) throw new Error('the client is not built: npm run build')

const { version, license, keywords } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const manifest = {
  name: 'fastify-ws-auth-client',
  version,
  description: 'The client of fastify-ws-auth: a WebSocket that renews its token, comes back, and stops if it is refused',
  license,
  keywords,
  type: 'commonjs',
  main: './dist/index.js',
  module: './dist/index.mjs',
  types: './dist/index.d.ts',
  exports: {
    '.': { import: './dist/index.mjs', default: './dist/index.js' },
    './client.mjs': './dist/index.mjs',
    './package.json': './package.json'
  },
  files: ['dist'],
  sideEffects: false
}

/** The document, with the names of this package. It has no other files of the repository to link to. */
function readme () {
  return readFileSync(join(root, 'lib/client/README.md'), 'utf8')
    .replaceAll('\'fastify-ws-auth/client\'', '\'fastify-ws-auth-client\'')
    .replaceAll('`fastify-ws-auth/client`', '`fastify-ws-auth-client`')
    .replaceAll('`fastify-ws-auth/client.mjs`', '`fastify-ws-auth-client/client.mjs`')
    .replace(/\[([^\]]+)\]\((?!https?:|#)[^)]*\)/g, '$1')
}

const folder = mkdtempSync(join(tmpdir(), 'fastify-ws-auth-client-'))
try {
  cpSync(built, join(folder, 'dist'), { recursive: true })
  cpSync(join(root, 'LICENSE'), join(folder, 'LICENSE'))
  writeFileSync(join(folder, 'README.md'), readme())
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  const target = resolve(process.argv[2] ?? '.')
  const name = execFileSync('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', target], { cwd: folder, encoding: 'utf8' }).trim()
  console.log(join(target, name))
} finally {
  rmSync(folder, { recursive: true })
}
