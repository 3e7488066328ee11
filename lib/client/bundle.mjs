/*
 * Bundles the client into one ES module, which a page can load as it is: `node lib/client/bundle.mjs`. `tsc` has made the CommonJS files
 * and the types before.
 */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Properties that these files alone know. The bundle has short names for them, which makes it 3 % smaller; minifiers must leave them alone. */
export const INTERNAL = [
  'accept', 'action', 'finals', 'fire', 'fireClose', 'forget', 'getTicket', 'hasFrames', 'isOpen', 'isOver', 'least', 'link', 'lose', 'most', 'onEnd',
  'onFrame', 'onOpen', 'onRefusal', 'prepare', 'probe', 'refusals', 'refuse', 'renewals', 'requestOf', 'reset', 'scope', 'sendFrame', 'settings', 'wallet'
]

/** The text of the bundle. */
export async function bundleClient () {
  const { outputFiles: [file] } = await build({
    entryPoints: [`${root}lib/client/index.ts`],
    bundle: true,
    format: 'esm',
    target: 'es2022',
    mangleProps: new RegExp(`^(${INTERNAL.join('|')})$`),
    write: false,
    logLevel: 'warning'
  })
  return file.text
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(`${root}dist/client/index.mjs`, await bundleClient())
  writeFileSync(`${root}dist/client/index.d.mts`, "export * from './index.js'\n")
}
