/*
 * What an app has told of its decisions: whether each is one event, one line and one count, and whether what was told of each
 * request makes sense. A line is written within the call that has published its event, so each has to be the other's next. Of what
 * a client causes at will only so many in a second have a line: the others are left out, and are counted as if they had one.
 */
import type fastifyWsAuth from '../../../lib/index'

type WsAuthEvent = fastifyWsAuth.WsAuthEvent

/** Counts, as of `app.wsAuth.stats()`. */
export interface Counts {
  accepted: number
  renewed: number
  refused: Record<string, number>
  closed: Record<string, number>
}

/** A line of the log that tells of a decision. */
type Line = WsAuthEvent & { readonly reqId?: string, readonly level: number }

/** What is told of one request: `run` is its handler, and of a refusal or an end it is said why. */
export type Story = string[]

/** All tokens begin with it: `{"alg"` in base64url. A ticket has 43 characters of base64url. */
const TOKEN = /eyJhbGci|(?:token|ticket)=[\w-]|(?<![\w-])(?!-+[^\w-])[\w-]{43}(?![\w-])/

/** What is said in place of a number by one whose token may stand anywhere, even where its host should. */
export const SPOILT = 'spoilt'

/** One that is half a request may be a plain one, whose URL Fastify logs, or have its token anywhere. */
const IS_SPOILT = `"reqId":"${SPOILT}#`

const ACCEPTED = /^accepted(;run)?(;renewed|;renewal_refused [A-Z_]+)*;(expired|closed) [a-z_]+$/
const ONCE = /^(refused [A-Z_]+|told [A-Z_]+|ticket_issued|run)$/

/** Decisions that have a line for the first ones in a second. */
interface Sample {
  /** What they are of: a connection, or no request. */
  readonly of: string
  readonly most: number
}

/** For how long lines are counted together, and the time between an event and its reading here, in milliseconds. */
const INTERVAL = 1500

/** What the decision of an event is one of; `null` if each has a line. */
function sampleOf ({ event, code, route, connectionId }: WsAuthEvent): Sample | null {
  if (event === 'renewal_refused') return { of: String(connectionId), most: 10 }
  return event === 'refused' && code === 'WS_AUTH_UNAVAILABLE' && route === null ? { of: 'no request', most: 1 } : null
}

function newCounts (): Counts {
  return { accepted: 0, renewed: 0, refused: {}, closed: {} }
}

export class Ledger {
  readonly published = newCounts()
  /** What has a line, or is left out. */
  readonly logged = newCounts()
  /** Refusals that are of no request of Fastify's. */
  anonymous = 0
  /** What contradicts what came before, and what ought not to be there at all. */
  readonly wrong: string[] = []
  readonly #stories = new Map<string, { connectionId: string | null, isOver: boolean, story: Story }>()
  #awaited: WsAuthEvent | null = null
  #publishedAt = 0
  /** When the last lines of each sample were written. */
  readonly #written = new Map<string, number[]>()

  readonly onEvent = (event: WsAuthEvent): void => {
    this.#settleAwaited()
    this.#awaited = event
    this.#publishedAt = performance.now()
    count(this.published, event)
  }

  onLine (text: string): void {
    if (TOKEN.test(text) && !text.includes(IS_SPOILT)) this.wrong.push(`there is a token in ${text}`)
    if (!text.includes('"dryRun":')) return
    const line = JSON.parse(text) as Line
    if (this.#awaited === null || !isOf(line, this.#awaited)) this.wrong.push(`there is no event, or another, for ${text}`)
    this.#awaited = null
    count(this.logged, line)
    this.#noteWritten(line)
    if (line.reqId === undefined) this.#tellAnonymous(line)
    else this.#tell(line.reqId, line)
  }

  /** The handler of a guarded route runs. */
  onRun (id: string): void {
    const { story, isOver } = this.#storyOf(id)
    if (story[0] !== 'accepted' || isOver) this.wrong.push(`the handler of ${id} runs after ${story.join()}`)
    story.push('run')
  }

  /** It gets a message. */
  onMessage (id: string): void {
    const { story, isOver } = this.#storyOf(id)
    if (isOver || !story.includes('run')) this.wrong.push(`the handler of ${id} gets a message after ${story.join()}`)
  }

  /** All stories, which are over, by request. */
  take (): Record<string, Story> {
    this.#settleAwaited()
    for (const [id, { story }] of this.#stories) {
      const text = story.join(';')
      if (!ACCEPTED.test(text) && !ONCE.test(text)) this.wrong.push(`what was told of ${id} is ${text}`)
    }
    const taken = Object.fromEntries([...this.#stories].map(([id, { story }]) => [id, story]))
    this.#stories.clear()
    return taken
  }

  /** The event without a line is one too many of its sample, or it is wrong. */
  #settleAwaited (): void {
    const event = this.#awaited
    if (event === null) return
    this.#awaited = null
    const sample = sampleOf(event)
    const written = this.#written.get(sample?.of ?? '') ?? []
    if (sample !== null && written.length === sample.most && this.#publishedAt - (written[0] as number) < INTERVAL) count(this.logged, event)
    else this.wrong.push(`there is no line for ${JSON.stringify(event)}`)
  }

  #noteWritten (line: Line): void {
    const sample = sampleOf(line)
    if (line.event === 'closed' || line.event === 'expired') this.#written.delete(String(line.connectionId))
    if (sample === null) return
    const written = [...this.#written.get(sample.of) ?? [], performance.now()]
    this.#written.set(sample.of, written.slice(-sample.most))
  }

  #tell (id: string, { event, code, reason, connectionId, dryRun }: Line): void {
    const told = this.#storyOf(id)
    if (connectionId !== null && told.connectionId !== null && connectionId !== told.connectionId) this.wrong.push(`${id} has two connections`)
    told.connectionId ??= connectionId
    told.isOver ||= event === 'closed' || event === 'expired'
    told.story.push([dryRun ? 'told' : event, code ?? reason].filter((word) => word !== null).join(' '))
  }

  #tellAnonymous ({ event, code }: Line): void {
    this.anonymous++
    if (event !== 'refused' || code !== 'WS_AUTH_UNAVAILABLE') this.wrong.push(`${event} ${code} is of no request`)
  }

  #storyOf (id: string): { connectionId: string | null, isOver: boolean, story: Story } {
    const found = this.#stories.get(id) ?? { connectionId: null, isOver: false, story: [] }
    this.#stories.set(id, found)
    return found
  }
}

/** What a request is called, which is told in the log: what it says itself only where that is whole. */
export function nameOf (said: string | string[] | undefined): string {
  if (said === undefined) return ''
  return /^(?:quiet )?\d+$/.test(String(said)) ? String(said) : SPOILT
}

function count (counts: Counts, { event, code, reason, dryRun }: WsAuthEvent): void {
  if (code !== null && !dryRun) counts.refused[code] = (counts.refused[code] ?? 0) + 1
  if (event === 'accepted' || event === 'renewed') counts[event]++
  if (reason !== null) counts.closed[reason] = (counts.closed[reason] ?? 0) + 1
}

/** The line of a refusal has its cause in `why`, and the event of a refusal has `null`. */
function isOf (line: Line, event: WsAuthEvent): boolean {
  const { match, why, ...rest } = event
  const keys = Object.keys(rest) as Array<keyof typeof rest>
  return keys.every((key) => line[key] === event[key]) && JSON.stringify(line.match) === JSON.stringify(match) && (event.code !== null || line.why === why)
}
