/*
 * The layers of lib: a file imports from its own folder, or from folders before it in this list, types included.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, sep } from 'node:path'
import t from 'tap'

const FOLDERS = [
  'base', 'token', 'backplane', 'revocation', 'options', 'credentials', 'authentication', 'audit', 'connection', 'in-band', 'handshake', 'endpoints', 'inspect', 'plugin', 'testing', 'client'
]

/** Where a library is known: a folder, or a file. Values of `ws` are; its types are everywhere. */
const PLACES: Record<string, readonly string[]> = {
  '@fastify/websocket': ['plugin', 'options'],
  '@fastify/cookie': ['plugin', 'options'],
  '@fastify/jwt': ['plugin', 'options', 'token'],
  '@lukeed/ms': ['token'],
  'lru-cache': ['token/caching-verifier'],
  'fastify-plugin': ['index'],
  // The client is the app's own: only its shape is known.
  ioredis: [],
  redis: []
}
const WS_VALUES = ['connection', 'in-band', 'handshake', 'index']

const lib = join(process.cwd(), 'lib')
const files = readdirSync(lib, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts')).map((file) => file.slice(0, -3).split(sep).join('/')).sort()

interface Import {
  readonly specifier: string
  readonly isType: boolean
}

function importsOf (file: string): Import[] {
  const source = readFileSync(join(lib, `${file}.ts`), 'utf8')
  return [...source.matchAll(/^(import type|import|export)\b[^;'\n]*?(?:\{[^}]*\})?[^;'\n]*?from '([^']+)'/gm)].map(([, kind, specifier = '']) => ({ specifier, isType: kind === 'import type' }))
}

/** The files of lib that a file imports. */
function importedBy (file: string): string[] {
  return importsOf(file).filter(({ specifier }) => specifier.startsWith('.')).map(({ specifier }) => join(dirname(file), specifier).split(sep).join('/'))
}

function folderOf (file: string): string {
  return file.includes('/') ? file.slice(0, file.indexOf('/')) : ''
}

t.test('each file is in a folder of the list, except the index', async (t) => {
  t.strictSame([...new Set(files.map(folderOf))].sort(), ['', ...FOLDERS].sort())
  t.strictSame(files.filter((file) => folderOf(file) === ''), ['index'])
})

t.test('each file imports only from its own folder or from an earlier one', async (t) => {
  let count = 0
  for (const file of files) {
    for (const imported of importedBy(file)) {
      count++
      t.ok(files.includes(imported), `${file} imports ${imported}, which is a file`)
      const isDown = folderOf(file) === '' || FOLDERS.indexOf(folderOf(imported)) <= FOLDERS.indexOf(folderOf(file))
      // The test server of `testing` registers the plugin as an app does.
      t.ok(isDown && (folderOf(imported) !== '' || folderOf(file) === 'testing'), `${file} imports ${imported}`)
    }
  }
  t.ok(count > files.length, 'the imports were found')
})

t.test('no file imports itself, directly or through others', async (t) => {
  const ends = new Set<string>()
  const visit = (file: string, way: readonly string[]): void => {
    if (way.includes(file)) t.fail([...way.slice(way.indexOf(file)), file].join(' > '))
    else if (!ends.has(file)) for (const imported of importedBy(file)) visit(imported, [...way, file])
    ends.add(file)
  }
  for (const file of files) visit(file, [])
  t.equal(ends.size, files.length)
})

t.test('each library is imported only in its places', async (t) => {
  const isIn = (file: string, places: readonly string[]): boolean => places.some((place) => file === place || file.startsWith(`${place}/`))
  for (const file of files) {
    for (const { specifier, isType } of importsOf(file)) {
      const places = PLACES[specifier]
      if (places !== undefined) t.ok(isIn(file, places), `${file} imports ${specifier}`)
      if (specifier === 'ws' && !isType) t.ok(isIn(file, WS_VALUES), `${file} imports values of ws`)
    }
  }
})

t.test('only the folder of the Redis backplane imports its files', async (t) => {
  for (const file of files.filter((file) => !file.startsWith('backplane/redis/'))) {
    t.strictSame(importedBy(file).filter((imported) => imported.startsWith('backplane/redis/')), [], file)
  }
})

t.test('the client imports only its own files, and no other file imports it', async (t) => {
  for (const file of files) {
    for (const { specifier } of importsOf(file).filter(() => folderOf(file) === 'client')) t.match(specifier, /^\.\//, `${file} imports ${specifier}`)
    for (const imported of importedBy(file)) t.equal(folderOf(imported) === 'client', folderOf(file) === 'client', `${file} imports ${imported}`)
  }
})
