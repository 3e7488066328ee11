/*
 * Bundles the modules that the main entry loads into `dist/bundle.js`: `node lib/bundle.mjs`. To load 170 files costs a process three times
 * as much as to load one. `tsc` has made a CommonJS file and the types of each module before. A module that the other entries share
 * remains as a file of one line, so that there is one instance of it.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../', import.meta.url))
const dist = join(root, 'dist')
const ENTRY = 'index'
/** Shared with the benchmark, which measures it alone. */
const SHARED = ['connection/sweep']

const REQUIRE = /require\("(\.[^"]+)"\)/g
const fileOf = (name) => join(dist, `${name}.js`)
const textOf = (name) => readFileSync(fileOf(name), 'utf8')
const required = (from, path) => join(dirname(from), path).replaceAll(sep, '/')
const requiredBy = (name) => [...textOf(name).matchAll(REQUIRE)].map(([, path]) => required(name, path))

/** The modules that the entry loads, without itself. */
function loadedModules () {
  const loaded = new Set([ENTRY])
  for (const name of loaded) for (const one of requiredBy(name)) loaded.add(one)
  loaded.delete(ENTRY)
  return loaded
}

/** The modules of the bundle that files outside of it require. */
function sharedModules (loaded) {
  const files = readdirSync(dist, { recursive: true }).filter((path) => path.endsWith('.js')).map((path) => path.slice(0, -'.js'.length).replaceAll(sep, '/'))
  const outside = files.filter((name) => !loaded.has(name) && name !== ENTRY)
  return [...new Set([...outside.flatMap(requiredBy), ...SHARED])].filter((name) => loaded.has(name))
}

async function bundle (names) {
  const contents = [
    ...names.map((name, i) => `import * as m${i} from './${name}'`),
    `export = { ${names.map((name, i) => `'${name}': m${i}`).join(', ')} }`
  ].join('\n')
  await build({
    stdin: { contents, resolveDir: join(root, 'lib'), loader: 'ts' },
    outfile: fileOf('bundle'),
    bundle: true,
    packages: 'external',
    platform: 'node',
    target: 'es2022',
    // The modules are strict by themselves, and a CommonJS file is not.
    banner: { js: '"use strict";' },
    logLevel: 'warning'
  })
}

const loaded = loadedModules()
const shared = sharedModules(loaded)
const used = requiredBy(ENTRY)
await bundle([...new Set([...used, ...shared])])
writeFileSync(fileOf(ENTRY), textOf(ENTRY).replaceAll(REQUIRE, (_, path) => `require("./bundle.js")["${required(ENTRY, path)}"]`))
for (const name of loaded) {
  if (!shared.includes(name)) rmSync(fileOf(name))
  else writeFileSync(fileOf(name), `"use strict";\nmodule.exports = require("${relative(dirname(name), 'bundle.js').replaceAll(sep, '/').replace(/^(?!\.)/, './')}")["${name}"];\n`)
}
