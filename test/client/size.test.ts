/*
 * What the client costs a page: minified and gzipped, each of its exports alone.
 */
import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import t from 'tap'

/** The most bytes of each export. They may only be lowered: the aim is 4800 and 2800. */
const MOST = { connect: 6600, webSocketClass: 4900 }

for (const [name, most] of Object.entries(MOST)) {
  t.test(`${name} has at most ${most} bytes`, async (t) => {
    const { outputFiles } = await build({
      stdin: { contents: `export { ${name} } from './lib/client/index'`, resolveDir: process.cwd() },
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

t.test('lib/client/README.md names these sizes', async (t) => {
  const readme = readFileSync('lib/client/README.md', 'utf8')
  for (const [name, most] of Object.entries(MOST)) t.match(readme, `\`${name}\` ${name === 'connect' ? 'has ' : ''}at most ${most / 1000} KB`)
})
