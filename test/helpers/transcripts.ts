/*
 * The transcripts of PROTOCOL.md, as steps: what the client sends, what the server sends, and what happens meanwhile.
 */

/** A request, or a response, with the headers that the transcript shows. */
export interface HttpStep {
  readonly kind: 'request' | 'response'
  readonly start: string
  readonly headers: Record<string, string>
  /** The body of a response. */
  readonly body: string | null
  /** Whether a request is a plain one. */
  readonly isPlain: boolean
}

/** A frame, or something that happens. */
export interface TextStep {
  readonly kind: 'client frame' | 'server frame' | 'event'
  readonly text: string
}

export type Step = HttpStep | TextStep

const LINE = /^(C:|S:|--) ?(.*)$/
const START = /^(?:(?:GET|POST) \S+ HTTP\/1\.1|HTTP\/1\.1 \d{3} .+)$/
const HEADER = /^([A-Za-z-]+): (.*)$/

/** @throws Error for a line that is none of a transcript */
export function stepsOf (transcript: string): Step[] {
  const lines = transcript.trimEnd().split('\n').map((line): readonly [by: string, text: string] => {
    const [, by, text] = LINE.exec(line) ?? []
    if (by === undefined || text === undefined) throw new Error(`no line of a transcript: ${line}`)
    return [by, text]
  })
  const steps: Step[] = []
  while (lines.length > 0) {
    const [by, text] = lines.shift() as [string, string]
    if (by === '--') steps.push({ kind: 'event', text })
    else if (START.test(text)) steps.push(httpStep(by, text, lines))
    else steps.push({ kind: by === 'C:' ? 'client frame' : 'server frame', text })
  }
  return steps
}

function httpStep (by: string, start: string, lines: Array<readonly [string, string]>): HttpStep {
  const headers: Record<string, string> = {}
  let isPlain = start.startsWith('POST')
  let body: string | null = null
  for (let [next] = lines; next !== undefined && next[0] === by; [next] = lines) {
    const [, name, value] = HEADER.exec(next[1]) ?? []
    if (name !== undefined) headers[name.toLowerCase()] = value as string
    else if (next[1] === '(no Upgrade)') isPlain = true
    else if (next[1] !== '') break
    lines.shift()
    if (next[1] === '') {
      body = (lines.shift() as [string, string])[1]
      break
    }
  }
  return { kind: by === 'C:' ? 'request' : 'response', start, headers, body, isPlain }
}
