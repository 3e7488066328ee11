/*
 * The figures of the house: how long files and functions are, and how deep blocks are nested. An exception states its present size.
 * It may shrink, never grow, and is taken out of its list when it is within the limit.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join, sep } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import ts from 'typescript'

const MEDIAN_LINES = 80
const MAX_LINES = 250
const MAX_TEST_LINES = 500
const MAX_FUNCTION_LINES = 45
const MAX_NESTING = 4

/** Files of lib with more lines than {@link MAX_LINES}. */
const LONG_FILES: Record<string, number> = {}

/** Functions with more lines than {@link MAX_FUNCTION_LINES}, by file and name. */
const LONG_FUNCTIONS: Record<string, number> = {}

/** Files of tests with more lines than {@link MAX_TEST_LINES}. */
const LONG_TESTS: Record<string, number> = {}

const root = process.cwd()

function filesOf (folder: string, end: string): string[] {
  const files = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
  return files.map((file) => `${folder}/${file.split(sep).join('/')}`).filter((file) => file.endsWith(end)).sort()
}

function textOf (file: string): string {
  return readFileSync(join(root, file), 'utf8')
}

function linesOf (file: string): number {
  return textOf(file).trimEnd().split('\n').length
}

interface MeasuredFunction {
  readonly name: string
  readonly lines: number
  /** How many blocks are inside each other, in the function's body. Functions inside it are measured alone, from 0. */
  readonly nesting: number
}

/** All functions with a body: declarations, methods, accessors, and functions that are values. */
function functionsIn (file: string, text: string): MeasuredFunction[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)
  const found: MeasuredFunction[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node) && 'body' in node && node.body !== undefined) {
      const first = source.getLineAndCharacterOfPosition(node.getStart()).line
      const last = source.getLineAndCharacterOfPosition(node.getEnd()).line
      const name = node.name?.getText() ?? nameOfValue(node) ?? `line ${first + 1}`
      found.push({ name, lines: last - first + 1, nesting: nestingOf(node.body as ts.Node) })
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

/** The name of the variable or property that a function is the value of. */
function nameOfValue ({ parent }: ts.Node): string | undefined {
  const isNamed = ts.isVariableDeclaration(parent) || ts.isPropertyAssignment(parent) || ts.isPropertyDeclaration(parent)
  return isNamed ? parent.name.getText() : undefined
}

function nestingOf (body: ts.Node): number {
  let deepest = 0
  const visit = (node: ts.Node, depth: number): void => {
    if (ts.isFunctionLike(node)) return
    const inside = isBlock(node) ? depth + 1 : depth
    deepest = Math.max(deepest, inside)
    ts.forEachChild(node, (child) => visit(child, inside))
  }
  ts.forEachChild(body, (child) => visit(child, 0))
  return deepest
}

/** A statement that others are inside of; `else if` continues the `if` before it. */
function isBlock (node: ts.Node): boolean {
  if (ts.isIfStatement(node)) return !ts.isIfStatement(node.parent) || node.parent.elseStatement !== node
  return ts.isIterationStatement(node, false) || ts.isTryStatement(node) || ts.isSwitchStatement(node)
}

/** Every size is within the limit, or is an exception that has not grown. An exception that is no longer needed is named in a comment. */
function assertWithin (t: Test, sizes: ReadonlyMap<string, number>, limit: number, exceptions: Record<string, number>): void {
  for (const [name, size] of sizes) t.ok(size <= (exceptions[name] ?? limit), `${name} has ${size} lines, at most ${exceptions[name] ?? limit}`)
  for (const name of Object.keys(exceptions)) {
    if ((sizes.get(name) ?? 0) <= limit) t.comment(`${name} is within the limit: take it out of the exceptions`)
  }
}

const lib = filesOf('lib', '.ts')

t.test('half of the files of lib have at most 80 lines', async (t) => {
  const sizes = lib.map(linesOf).sort((one, other) => one - other)
  t.ok(sizes.length > 50, 'the files were found')
  t.ok((sizes[Math.floor(sizes.length / 2)] ?? Infinity) <= MEDIAN_LINES, `the median is ${sizes[Math.floor(sizes.length / 2)]}`)
})

t.test('no file of lib has more than 250 lines', async (t) => {
  assertWithin(t, new Map(lib.map((file) => [file, linesOf(file)])), MAX_LINES, LONG_FILES)
})

t.test('no function of lib has more than 45 lines', async (t) => {
  const sizes = new Map<string, number>()
  for (const file of lib) {
    for (const { name, lines } of functionsIn(file, textOf(file))) sizes.set(`${file} ${name}`, Math.max(lines, sizes.get(`${file} ${name}`) ?? 0))
  }
  t.ok(sizes.size > lib.length, 'the functions were found')
  assertWithin(t, sizes, MAX_FUNCTION_LINES, LONG_FUNCTIONS)
})

t.test('no function of lib has more than four blocks inside each other', async (t) => {
  for (const file of lib) {
    for (const { name, nesting } of functionsIn(file, textOf(file))) t.ok(nesting <= MAX_NESTING, `${file} ${name}: ${nesting}`)
  }
})

t.test('no file of tests has more than 500 lines', async (t) => {
  const tests = filesOf('test', '.ts').filter((file) => !file.includes('/node_modules/'))
  t.ok(tests.length > 50, 'the files were found')
  assertWithin(t, new Map(tests.map((file) => [file, linesOf(file)])), MAX_TEST_LINES, LONG_TESTS)
})

t.test('the test counts the lines of functions and the depth of blocks correctly', async (t) => {
  const source = [
    'function flat () { return 1 }',
    'class A {',
    '  get b () {',
    '    for (const a of []) {',
    '      if (a) { try { while (a) {} } catch {} }',
    '    }',
    '    return () => { if (1) {} else if (2) {} else if (3) { if (4) {} } }',
    '  }',
    '}'
  ].join('\n')
  t.strictSame(functionsIn('a.ts', source), [
    { name: 'flat', lines: 1, nesting: 0 },
    { name: 'b', lines: 6, nesting: 4 },
    { name: 'line 7', lines: 1, nesting: 2 }
  ])
})
