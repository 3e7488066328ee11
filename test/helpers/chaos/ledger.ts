/*
 * What an app has told of its decisions: whether each is one event, one line and one count, and whether what was told of each
 * request makes sense. A line is written within the call that has published its event, so each has to be the other's next.
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

function newCounts (): Counts {
  return { accepted: 0, renewed: 0, refused: {}, closed: {} }
}

export class Ledger {
  readonly published = newCounts()
  readonly logged = newCounts()
  /** Refusals that are of no request of Fastify's. */
  anonymous = 0
  /** What contradicts what came before, and what ought not to be there at all. */
  readonly wrong: string[] = []
  readonly #stories = new Map<string, { connectionId: string | null, isOver: boolean, story: Story }>()
  #awaited: WsAuthEvent | null = null

  readonly onEvent = (event: WsAuthEvent): void => {
    if (this.#awaited !== null) this.wrong.push(`there is no line for ${JSON.stringify(this.#awaited)}`)
    this.#awaited = event
    count(this.published, event)
  }

  onLine (text: string): void {
    if (TOKEN.test(text) && !text.includes(IS_SPOILT)) this.wrong.push(`there is a token in ${text}`)
    if (!text.includes('"dryRun":')) return
    const line = JSON.parse(text) as Line
    if (this.#awaited === null || !isOf(line, this.#awaited)) this.wrong.push(`there is no event, or another, for ${text}`)
    this.#awaited = null
    count(this.logged, line)
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
    for (const [id, { story }] of this.#stories) {
      const text = story.join(';')
      if (!ACCEPTED.test(text) && !ONCE.test(text)) this.wrong.push(`what was told of ${id} is ${text}`)
    }
    const taken = Object.fromEntries([...this.#stories].map(([id, { story }]) => [id, story]))
    this.#stories.clear()
    return taken
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
