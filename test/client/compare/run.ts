/*
 * `npm run compare`: brings all libraries into all situations, prints the table, and writes it to `test/client/compare/results.md`
 * and to the document of the client. It takes five minutes. `npm run compare -- expiry partysocket` runs what it names, and writes nothing.
 */
import './page'
import { readFileSync, writeFileSync } from 'node:fs'
import { libraries } from './libraries/index'
import { observe, situations } from './situations'
import { tableOf, withTable } from './table'

/** How many situations run at once: they mostly wait. */
const AT_ONCE = 6

// reconnecting-websocket and others leave rejections of the app's functions unhandled.
process.on('unhandledRejection', () => {})

async function main (): Promise<void> {
  const names = process.argv.slice(2)
  const isNamed = (name: string, all: ReadonlyArray<{ name: string }>): boolean => !names.some((each) => all.some((one) => one.name === each)) || names.includes(name)
  const chosen = situations.filter(({ name }) => isNamed(name, situations))
  const columns = libraries.filter(({ name }) => isNamed(name, libraries))
  const cells = new Map<string, string>()
  const all = chosen.flatMap((situation) => columns.map((library) => ({ situation, library })))
  const fill = async (waiting: Iterable<typeof all[number]>): Promise<void> => {
    for (const { situation, library } of waiting) {
      const text = await observe(library, situation)
      cells.set(`${situation.name} ${library.name}`, text)
      console.error(`${situation.name}, ${library.name}: ${text}`)
    }
  }
  const fillAtOnce = async (some: typeof all): Promise<void> => {
    const waiting = some.values()
    await Promise.all(Array.from({ length: AT_ONCE }, async () => await fill(waiting)))
  }
  // A crowd is alone, because others would delay it. An event of the page reaches all clients.
  await fill(all.filter(({ situation }) => situation.name === 'restart'))
  await fillAtOnce(all.filter(({ situation }) => situation.hasPageEvent === true))
  await fillAtOnce(all.filter(({ situation }) => situation.name !== 'restart' && situation.hasPageEvent !== true))
  const table = tableOf(chosen, columns, cells)
  console.log(table)
  if (names.length > 0) return
  writeFileSync('test/client/compare/results.md', table)
  writeFileSync('lib/client/README.md', withTable(readFileSync('lib/client/README.md', 'utf8'), table))
}

main().then(() => process.exit(), (error: unknown) => {
  console.error(error)
  process.exit(1)
})
