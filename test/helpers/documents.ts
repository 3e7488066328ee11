/*
 * The documents of the repository, as their tests read them: tables, blocks of code, links, headings.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export const ROOT = process.cwd()

/** The paths of all documents, from the root of the repository. */
export const DOCUMENTS: readonly string[] = ['.', '.github', 'example', 'lib', 'test'].flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: folder !== '.', encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => path.endsWith('.md') && !path.includes('node_modules')))

/** A fenced block of code. */
export interface Block {
  readonly language: string
  readonly source: string
  /** The path in the comment in the line above, `<!-- example/... -->`, or `null`. */
  readonly file: string | null
}

export function readDocument (path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

/** The part under a heading, up to the next heading of its level or of one above. */
export function section (text: string, heading: string): string {
  const level = heading.indexOf(' ')
  const from = `\n${withoutCode(text)}`.indexOf(`\n${heading}\n`)
  if (from === -1) throw new Error(`there is no heading "${heading}"`)
  const end = new RegExp(`^#{1,${level}} `, 'm').exec(withoutCode(text).slice(from + heading.length))?.index
  return text.slice(from, end === undefined ? undefined : from + heading.length + end)
}

/** The rows of the first table of a text. A cell that is one code, or one link, is what it shows. */
export function tableOf (text: string): string[][] {
  const [, , ...rows] = /(?:^\|.*\n)+/m.exec(text)?.[0].trim().split('\n') ?? []
  return rows.map((row) => row.slice(1, -1).split(' | ').map((cell) => cell.trim().replace(/^\[(.*)\]\([^)]*\)$/, '$1').replace(/^`([^`]*)`$/, '$1')))
}

export function blocksOf (text: string): Block[] {
  return [...text.matchAll(/(?:^<!-- (\S+) -->\n)?^```(\w*)\n([^]*?)^```$/gm)].map(([, file, language = '', source = '']) => ({ language, source, file: file ?? null }))
}

/** The targets of links and pictures that are within the repository: a path, a heading, or both. */
export function linksOf (text: string): Array<{ readonly path: string, readonly anchor: string | null }> {
  return [...withoutCode(text).matchAll(/\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]*))?\)/g)].map(([, path = '', anchor]) => ({ path, anchor: anchor ?? null }))
}

/** The anchors that GitHub gives to the headings. */
export function anchorsOf (text: string): string[] {
  return [...withoutCode(text).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading.replace(/\]\([^)]*\)/g, '').toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-'))
}

/** The sentences of its prose, without code, tables and headings. A code and a link are one word, or as many as they show. */
export function sentencesOf (text: string): string[] {
  const prose = withoutCode(text).split('\n').map((line) => /^(?:#|\||<!--)/.test(line) ? '' : line.replace(/^\s*(?:[-*]|\d+\.) /, '\n')).join('\n')
  const words = prose.replace(/`[^`]*`/g, 'code').replace(/\]\([^)]*\)/g, ']')
  return words.split(/\n\s*\n|(?<=[.!?])\s/).map((sentence) => sentence.trim()).filter((sentence) => sentence !== '')
}

/** A text of the same length, in which blocks of code are empty lines. */
function withoutCode (text: string): string {
  return text.replace(/^```[^]*?^```$/gm, (code) => code.replace(/[^\n]/g, ' '))
}
