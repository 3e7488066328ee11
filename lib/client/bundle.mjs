/*
 * Bundles the client into one ES module, which a page can load as it is: `node lib/client/bundle.mjs`. `tsc` has made the CommonJS files
 * and the types before.
 */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../../', import.meta.url))

await build({
  entryPoints: [`${root}lib/client/index.ts`],
  outfile: `${root}dist/client/index.mjs`,
  bundle: true,
  format: 'esm',
  target: 'es2022',
  logLevel: 'warning'
})
writeFileSync(`${root}dist/client/index.d.mts`, "export * from './index.js'\n")
