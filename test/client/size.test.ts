/*
 * What the client costs a page: each of its exports alone, from the bundle of the package, minified and gzipped.
 */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import t from 'tap'

/** The most bytes of each export. They may only be lowered: the aim is 4800 and 2800. */
const MOST = { connect: 6100, webSocketClass: 4600 }

/** `lib/client/bundle.mjs`. */
interface Bundle {
  readonly INTERNAL: string[]
  bundleClient (): Promise<string>
}

async function importBundle (): Promise<Bundle> {
  return await import(pathToFileURL(resolve('lib/client/bundle.mjs')).href) as Bundle
}

for (const [name, most] of Object.entries(MOST)) {
  t.test(`${name} has at most ${most} bytes`, async (t) => {
    const { bundleClient } = await importBundle()
    // As a bundler does that takes one export of the package.
    const contents = (await bundleClient()).replace(/export {[^}]*};\s*$/, `export { ${name} }`)
    const { outputFiles } = await build({
      stdin: { contents },
      bundle: true,
      minify: true,
      format: 'esm',
      target: 'es2022',
      write: false
    })
    const size = gzipSync(outputFiles[0]?.contents ?? '', { level: 9 }).length
    t.comment(`${name}: ${size} bytes`)
    t.ok(size > 1000 && size <= most, `${size} bytes`)
  })
}

t.test('the names that the bundle shortens are in no public type', async (t) => {
  const { INTERNAL } = await importBundle()
  const types = readFileSync('lib/client/types.ts', 'utf8').replace(/\/\*[^]*?\*\//g, '')
  t.strictSame(INTERNAL.filter((name) => new RegExp(`\\b${name}\\b`).test(types)), [])
  // What a page reads of the runtime, of frames and of options has no other declaration.
  for (const file of ['runtime', 'frames']) {
    const declared = [...readFileSync(`lib/client/${file}.ts`, 'utf8').matchAll(/^ {2}(?:readonly )?(\w+)\??(?::| \()/gm)].map(([, name = '']) => name)
    t.strictSame(declared.filter((name) => INTERNAL.includes(name)), [])
  }
})

t.test('lib/client/README.md names these sizes', async (t) => {
  const readme = readFileSync('lib/client/README.md', 'utf8')
  for (const [name, most] of Object.entries(MOST)) t.match(readme, `\`${name}\` ${name === 'connect' ? 'has ' : ''}at most ${most / 1000} KB`)
})
