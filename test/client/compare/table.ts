/*
 * The table of the comparison, in Markdown: a row for each situation, a column for each library.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Library } from './library'
import type { Situation } from './situations'

/** @param cells the texts, by the names of the situation and the library */
export function tableOf (situations: readonly Situation[], libraries: readonly Library[], cells: ReadonlyMap<string, string>): string {
  const head = ['', ...libraries.map(({ name }) => `${name} ${versionOf(name)}`.trim())]
  const rows = situations.map(({ name, title }) => [title, ...libraries.map((library) => cells.get(`${name} ${library.name}`) ?? '')])
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |\n`).join('')
}

/** The document of the client with another table between its marks. */
export function withTable (readme: string, table: string): string {
  return readme.replace(/(<!-- comparison: begin -->\n)[^]*?(<!-- comparison: end -->)/, (_all, begin: string, end: string) => `${begin}\n${table}\n${end}`)
}

/** The column of a library, by the titles of the situations. */
export function columnOf (table: string, name: string): Map<string, string> {
  const [head = [], , ...rows] = table.trim().split('\n').map((line) => line.slice(2, -2).split(' | '))
  const index = head.findIndex((each) => each.split(' ')[0] === name)
  return new Map(rows.map((row) => [row[0] ?? '', row[index] ?? '']))
}

/** The installed version of a package; none for this one. */
function versionOf (name: string): string {
  if (name === 'fastify-ws-auth') return ''
  return (JSON.parse(readFileSync(join(process.cwd(), 'node_modules', name, 'package.json'), 'utf8')) as { version: string }).version
}
