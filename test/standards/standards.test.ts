/*
 * The tables of STANDARDS.md: each item of each standard is in them, and each test that they name exists.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

/** What each table has to have, by the numbers of the standard; the cheat sheet has none, and is in the order of its headings. */
const ITEMS: Record<string, string[]> = {
  'OWASP WebSocket Security Cheat Sheet': [
    'Transport, wss', 'Transport, version', 'Transport, compression', 'Transport, proxies', 'Transport, WAF',
    'Authentication, Origin', 'Authentication, CSRF token', 'Authentication, SameSite', 'Authentication, expiry', 'Authentication, logout',
    'Authentication, tokens', 'Authentication, rotation', 'Authorization, messages',
    'Input, structure', 'Input, size', 'Input, rate', 'Input, binary', 'Input, replay', 'Input, parser', 'Tunnels',
    'DoS, connections', 'DoS, messages', 'DoS, idle', 'DoS, dead', 'DoS, backpressure',
    'Log, connections', 'Log, decisions', 'Log, violations', 'Log, abnormal ends', 'Log, secrets',
    'Tests, origin', 'Tests, bypass', 'Tests, injection', 'Tests, load', 'Tests, expiry and logout', 'Node.js', 'Dependencies'
  ],
  'OWASP ASVS 5.0': [
    ...numbers('4.4', 4), ...numbers('7.1', 3), ...numbers('7.2', 4), ...numbers('7.3', 2), ...numbers('7.4', 5), ...numbers('7.5', 3), ...numbers('7.6', 2),
    ...numbers('9.1', 3), ...numbers('9.2', 4), '14.2.1'
  ],
  'RFC 8725': numbers('3', 12),
  'RFC 6750': [
    '3, presence', '3, scheme', '3, realm', '3, scope', '3, error', '3, error_description and error_uri', '3, characters',
    '3.1, invalid_request', '3.1, invalid_token', '3.1, insufficient_scope', '3.1, nothing sent'
  ],
  'RFC 6455': [
    ...numbers('4.2.1', 10), '4.2.2.1', '4.2.2.2', '4.2.2.3',
    ...['origin', 'key', 'version', 'resource name', 'subprotocol', 'extensions'].map((name) => `4.2.2.4, ${name}`), ...numbers('4.2.2.5', 6), ...numbers('10', 8)
  ],
  'Security events and introspection': [
    'RFC 7662, 2', 'RFC 8417, 2.2', 'RFC 8417, 2.3', 'RFC 8417, 4', 'RFC 8417, 5.1', 'RFC 8935, 2.1', 'RFC 8935, 2.2', 'RFC 8935, 2.3', 'RFC 8935, 2.4', 'RFC 8935, 5',
    'CAEP 1.0, 2', 'CAEP 1.0, 3', 'RISC 1.0, 2', 'Shared Signals 1.0'
  ]
}

function numbers (section: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${section}.${i + 1}`)
}

/** What stands where there is nothing that a test of this package could ask. */
const OUTSIDE = 'none: outside this package'

/** The rows of each table of the document, by the heading above it. */
function standardsOf (path: string): Array<[name: string, rows: string[][]]> {
  const [, ...sections] = readFileSync(path, 'utf8').split(/^## /m)
  return sections.map((section) => {
    const lines = section.split('\n').filter((line) => line.startsWith('|'))
    return [section.slice(0, section.indexOf('\n')), lines.slice(2).map((line) => line.slice(1, -1).split('|').map((cell) => cell.trim()))]
  })
}

/** The titles that stand in the source of each file of tests; a name stands for the short file and the long one. */
function titlesOf (folder: string): Map<string, Set<string>> {
  const titles = new Map<string, Set<string>>()
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.test.ts'))) {
    const calls = readFileSync(join(folder, name), 'utf8').matchAll(/\.test\(\s*(?:'((?:\\.|[^'\\\n])*)'|"((?:\\.|[^"\\\n])*)")/g)
    const key = name.replace(/(?:\.long)?\.test\.ts$/, '')
    titles.set(key, new Set([...titles.get(key) ?? [], ...[...calls].map(([, single, double]) => (single ?? double ?? '').replace(/\\(.)/g, '$1'))]))
  }
  return titles
}

t.test('the tables of STANDARDS.md are complete', async (t) => {
  const tables = standardsOf(join(process.cwd(), 'test', 'STANDARDS.md'))
  const titles = titlesOf(join(process.cwd(), 'test'))

  t.test('the tables cover all standards, and no others', async (t) => {
    t.strictSame(tables.map(([name]) => name), Object.keys(ITEMS))
  })

  t.test('the tables have every item once, in order, and say of each what the package or the app does', async (t) => {
    for (const [name, rows] of tables) {
      t.strictSame(rows.map(([item = '']) => item.split(': ')[0]), ITEMS[name], name)
      for (const [item, ours, yours, ...more] of rows) {
        t.ok(ours !== '' && yours !== '', `${item}: neither is left empty`)
        t.equal(more.length, 1, `${item}: four cells`)
      }
    }
  })

  t.test('the tables name an existing test for each line, or say that there is none', async (t) => {
    const named = /`([\w/-]+): "([^"`]+)"`/g
    for (const [standard, rows] of tables) {
      for (const [item = '', ours, , tests = ''] of rows) {
        if (tests === OUTSIDE) {
          t.equal(ours, '-', `${standard}, ${item}: what is done here has a test`)
          continue
        }
        t.match(tests, /^(?:`[\w/-]+: "[^"`]+"`(?:; |$))+$/, `${standard}, ${item}: is a list of tests`)
        for (const [, file = '', title = ''] of tests.matchAll(named)) t.ok(titles.get(file)?.has(title), `${standard}, ${item}: test/${file}.test.ts has "${title}"`)
      }
    }
  })
})
