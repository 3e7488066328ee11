/*
 * An inspection as a table in Markdown (GitHub Flavored Markdown).
 */
import type { InspectedRoute } from './inspected-route'

const COLUMNS: ReadonlyArray<readonly [title: string, text: (route: InspectedRoute) => string]> = [
  ['path', ({ path, constraints }) => code(path) + (constraints === null ? '' : ` for ${code(JSON.stringify(constraints))}`)],
  ['access', ({ access }) => access],
  ['token in', ({ sources }) => list(Object.keys(sources))],
  ['verified by', ({ tokens }) => tokens === null ? '' : escape(tokens.verifier)],
  ['origin', ({ origin }) => typeof origin === 'string' ? origin : codes(origin)],
  ['roles (one of)', ({ roles }) => codes(roles)],
  ['scopes (all of)', ({ scopes }) => codes(scopes)],
  ['authorize', ({ authorize }) => authorize ? 'yes' : ''],
  ['TLS', ({ requireTls }) => requireTls ? 'required' : ''],
  ['refuses by', ({ rejectWith }) => rejectWith],
  ['longest life', ({ access, maxLifetime }) => access === 'public' || maxLifetime === null ? 'no limit' : durationOf(maxLifetime)],
  ['limits', ({ limits }) => list(Object.entries(limits).filter(([, value]) => value !== null).map(([name, value]) => `${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}`))],
  ['warnings', ({ warnings }) => list(warnings)]
]

const UNITS: ReadonlyArray<readonly [string, number]> = [['d', 86_400_000], ['h', 3_600_000], ['min', 60_000], ['s', 1000]]

/** A row for each route, and a line for each warning. */
export function toMarkdown ({ routes, warnings }: { readonly routes: readonly InspectedRoute[], readonly warnings: Readonly<Record<string, string>> }): string {
  const rows = routes.map((route) => COLUMNS.map(([, text]) => text(route)))
  const table = [COLUMNS.map(([title]) => title), COLUMNS.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`)
  const advice = Object.entries(warnings).map(([name, sentence]) => `- \`${name}\`: ${sentence}`)
  return [table, advice].filter((lines) => lines.length > 0).map((lines) => `${lines.join('\n')}\n`).join('\n')
}

function list (texts: readonly string[]): string {
  return texts.map(escape).join(', ')
}

function codes (texts: readonly string[] | null): string {
  return (texts ?? []).map(code).join(', ')
}

/** A code span. A text with a backtick cannot be one between single backticks. */
function code (text: string): string {
  const line = text.replace(/[\r\n]+/g, ' ')
  return line.includes('`') ? escape(line) : `\`${line.replaceAll('|', '\\|')}\``
}

/** Neither ends the cell nor marks anything up. An underscore within a word does not either. */
function escape (text: string): string {
  return text.replace(/[\r\n]+/g, ' ').replace(/[\\`*[\]<>|]/g, '\\$&')
}

function durationOf (ms: number): string {
  const [unit, length] = UNITS.find(([, length]) => ms % length === 0) ?? ['ms', 1]
  return `${ms / length} ${unit}`
}
