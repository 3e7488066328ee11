// @ts-check
/*
 * The results as a picture: bars with their quartiles, ours in colour.
 */

const WIDTH = 860
const MARGIN = 24
const LABELS = 265
const BAR = 18
const GAP = 8
const HEAD = 46
const FOOT = 26
const COLOURS = { ours: '#0b7285', others: '#adb5bd', text: '#212529', faint: '#6c757d', spread: '#495057' }

/** @typedef {import('./statistics.mjs').Spread} Spread */
/** @typedef {{ label: string, spread: Spread }} Bar */
/** @typedef {{ title: string, unit: string, digits: number, bars: Bar[], note: string }} Panel */

/** What people call those that the results name by a letter. */
const LABEL = {
  A: 'bare @fastify/websocket',
  B: 'hand-written, request.jwtVerify()',
  'B query': 'hand-written, jwt.verify(query.token)',
  'B timer': 'hand-written, a timer each',
  V: 'jwt.verify() and nothing else',
  ws: 'bare ws',
  C: 'fastify-ws-auth',
  'C cached': 'fastify-ws-auth, tokenCache',
  'C everything': 'fastify-ws-auth, everything on',
  'C frames': 'fastify-ws-auth, renewal',
  'C RS256': 'fastify-ws-auth, RS256',
  'C RS256 cached': 'fastify-ws-auth, RS256, tokenCache',
  'B RS256': 'hand-written, RS256'
}

const CPU = [
  { question: 'accepted', title: 'An accepted handshake', names: ['ws', 'A', 'V', 'B', 'C', 'C everything', 'ws + jsonwebtoken, KeyObject', 'ws + jsonwebtoken', 'express + ws + express-jwt', 'socket.io'] },
  { question: 'refused', title: 'A refused handshake: wrong signature', names: ['B', 'C', 'C everything', 'ws + jsonwebtoken, KeyObject', 'ws + jsonwebtoken', 'express + ws + express-jwt', 'socket.io'] },
  { question: 'storm', title: 'A reconnect, all clients at once', names: ['A', 'B', 'C', 'C everything', 'B RS256', 'C RS256', 'C RS256 cached', 'ws + jsonwebtoken', 'socket.io'] },
  { question: 'echo', title: 'An echoed message of 64 bytes', names: ['ws', 'A', 'C', 'C frames', 'C everything', 'socket.io'] }
]

/**
 * @param {Record<string, any>} results as they were written
 * @returns {string} an SVG
 */
export function draw (results) {
  const panels = panelsOf(results)
  let y = MARGIN
  const parts = panels.map((panel) => {
    const part = drawPanel(panel, y)
    y += HEAD + panel.bars.length * (BAR + GAP) + FOOT
    return part
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" font-family="system-ui, sans-serif" font-size="13">`,
    `<rect width="${WIDTH}" height="${y}" rx="8" fill="#fff"/>`,
    ...parts,
    '</svg>',
    ''
  ].join('\n')
}

/** @returns {Panel[]} of what was measured */
function panelsOf (results) {
  const panels = CPU.filter(({ question }) => results[question] !== undefined).map(({ question, title, names }) => ({
    title,
    unit: 'us of the server\'s CPU',
    digits: question === 'echo' ? 2 : 0,
    bars: barsOf(names, (name) => results[question].microseconds[name]),
    note: noteOf(results[question])
  }))
  if (results.memory === undefined) return panels
  const names = ['ws', 'A', 'B', 'B timer', 'C', 'C everything', 'ws + jsonwebtoken', 'socket.io']
  return [...panels, {
    title: 'An idle connection',
    unit: 'KiB of heap',
    digits: 2,
    bars: barsOf(names, (name) => results.memory.figures[name]?.heap),
    note: noteOf(results.memory)
  }]
}

/** @returns {Bar[]} the least first */
function barsOf (names, find) {
  const bars = names.flatMap((name) => find(name) === undefined ? [] : [{ label: LABEL[name] ?? name, spread: find(name) }])
  return bars.sort((a, b) => a.spread.median - b.spread.median)
}

function noteOf ({ at, machine }) {
  return `${at.slice(0, 10)}, Node ${machine.node.slice(1)}, ${machine.cores} cores of ${machine.cpu}; medians, the lines are quartiles`
}

/** @param {Panel} panel */
function drawPanel ({ title, unit, digits, bars, note }, top) {
  const most = Math.max(...bars.map(({ spread }) => Math.max(spread.median, spread.high)))
  const scale = (WIDTH - 2 * MARGIN - LABELS - 60) / most
  return [
    text(MARGIN, top + 14, title, { weight: 600, size: 15 }),
    text(MARGIN, top + 31, unit, { fill: COLOURS.faint }),
    ...bars.map((bar, i) => drawBar(bar, top + HEAD + i * (BAR + GAP), scale, digits)),
    text(MARGIN, top + HEAD + bars.length * (BAR + GAP) + 6, note, { fill: COLOURS.faint, size: 11 })
  ].join('\n')
}

/** @param {Bar} bar */
function drawBar ({ label, spread: { median, low, high } }, y, scale, digits) {
  const x = MARGIN + LABELS
  const isOurs = label.startsWith('fastify-ws-auth')
  const at = (/** @type {number} */ value) => (x + value * scale).toFixed(1)
  return [
    text(x - 8, y + 13, label, { anchor: 'end', weight: isOurs ? 600 : 400 }),
    `<rect x="${x}" y="${y}" width="${(median * scale).toFixed(1)}" height="${BAR}" rx="2" fill="${isOurs ? COLOURS.ours : COLOURS.others}"/>`,
    `<path d="M${at(low)} ${y + BAR / 2}H${at(high)}" stroke="${COLOURS.spread}" stroke-width="2"/>`,
    text(Number(at(Math.max(median, high))) + 6, y + 13, median.toFixed(digits), { fill: COLOURS.faint })
  ].join('')
}

function text (/** @type {number} */ x, /** @type {number} */ y, /** @type {string} */ content, { anchor = 'start', weight = 400, size = 13, fill = COLOURS.text } = {}) {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  return `<text x="${x}" y="${y}" text-anchor="${anchor}" font-weight="${weight}" font-size="${size}" fill="${fill}">${escaped}</text>`
}
