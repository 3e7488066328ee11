/*
 * Random sequences of what can happen to a connection, each compared, step by step, with a model of thirty lines.
 * RENEWAL_SEED in the environment plays those of another seed.
 */
import t from 'tap'
import { sign } from '../helpers/app'
import { randomFrom } from '../helpers/random'
import { eventually, moveClock, startChat, turn } from '../helpers/renewal-app'
import type { Chat } from '../helpers/renewal-app'
import { statsOf } from '../helpers/stats'

const SEED = Number(process.env.RENEWAL_SEED ?? Date.now() % 1e9)
const SEQUENCES = 300
const STEPS = 20
const MAX_LIFETIME = 1_000_000
const GRACE = 3000

interface Claims { sub?: string, iss?: string, iat?: number, exp?: number, role: string, n: number }
interface Token { claims: Claims, isGenuine: boolean }

/** What a connection should be. */
class Model {
  claims: Claims
  openedAt: number
  closedBy: string | null = null
  close: { code: number | null, reason: string } = { code: null, reason: '' }
  isAllowed = true
  renewed = 0
  refused: Record<string, number> = {}

  constructor (claims: Claims, openedAt: number) {
    this.claims = claims
    this.openedAt = openedAt
  }

  get deadline (): number {
    return Math.min((this.claims.exp ?? Infinity) * 1000 + GRACE, this.openedAt + MAX_LIFETIME)
  }

  /** `before` is what was found out about it before another one came in between. */
  renew ({ claims, isGenuine }: Token, now: number, before: string | null = null): string {
    if (this.closedBy !== null) return 'WS_AUTH_TOKEN_INVALID'
    const code = before ?? this.refusal(claims, isGenuine, now)
    if (code === null) {
      this.claims = claims
      this.renewed++
    } else {
      this.refused[code] = (this.refused[code] ?? 0) + 1
    }
    return code ?? 'ok'
  }

  refusal (next: Claims, isGenuine: boolean, now: number): string | null {
    const { claims } = this
    if (!isGenuine) return 'WS_AUTH_TOKEN_INVALID'
    if ((next.exp ?? Infinity) * 1000 <= now) return 'WS_AUTH_TOKEN_EXPIRED'
    if (next.sub === undefined || next.sub !== claims.sub || next.iss !== claims.iss) return 'WS_AUTH_TOKEN_INVALID'
    if ((next.iat ?? -Infinity) < (claims.iat ?? -Infinity) || (next.exp ?? Infinity) < (claims.exp ?? Infinity)) return 'WS_AUTH_TOKEN_INVALID'
    return this.isAllowed && next.role === 'member' ? null : 'WS_AUTH_FORBIDDEN'
  }

  end (by: string, code: number, reason: string): void {
    if (this.closedBy !== null) return
    this.closedBy = by
    this.close = { code, reason }
  }

  pass (now: number): void {
    if (now < this.deadline) return
    const isOld = this.openedAt + MAX_LIFETIME === this.deadline && (this.claims.exp ?? Infinity) * 1000 + GRACE > this.deadline
    const reason = isOld ? 'lifetime_exceeded' : 'token_expired'
    this.end(reason, 3000, reason)
  }
}

t.comment(`RENEWAL_SEED=${SEED}`)
const outcomes: Record<string, number> = {}

for (let sequence = 0; sequence < SEQUENCES; sequence++) {
  t.test(`the connections behave as the model in sequence ${sequence} of seed ${SEED}`, async (t) => {
    const random = randomFrom(SEED + sequence * 7919)
    const below = (n: number): number => Math.floor(random() * n)
    const pick = <T>(...items: T[]): T => items[below(items.length)] as T
    const isSlow = random() < 0.3
    let isAllowed = true
    const { app, connect } = await startChat(t, {
      server: { logger: false },
      plugin: { renewal: true, maxLifetime: MAX_LIFETIME, expiryGrace: GRACE, roles: ({ role }) => [String(role)] },
      wsAuth: { roles: ['member'], authorize: isSlow ? async () => { await turn(); return isAllowed } : () => isAllowed }
    })
    const clock = moveClock(t)
    let count = 0
    const seconds = (): number => Math.floor(Date.now() / 1000)
    const first: Claims = { role: 'member', n: count }
    if (random() < 0.9) first.sub = 'ann'
    if (random() < 0.8) first.iss = 'here'
    if (random() < 0.8) first.iat = seconds()
    if (random() < 0.9) first.exp = seconds() + 10 + below(50)
    const chat = await connect(sign({ ...first }))
    const model = new Model(first, chat.connection.openedAt)

    const nextToken = (): Token => {
      const claims: Claims = { ...model.claims, n: ++count }
      let isGenuine = true
      const kind = pick('newer', 'newer', 'newer', 'newer', 'equal', 'older iat', 'older exp', 'sub', 'no sub', 'iss', 'no iss', 'no exp', 'no iat', 'role', 'signature', 'expired')
      if (kind === 'newer') Object.assign(claims, { iat: seconds(), exp: Math.max(seconds(), claims.exp ?? 0) + below(60) })
      else if (kind === 'older iat') claims.iat = (claims.iat ?? seconds()) - 1 - below(100)
      else if (kind === 'older exp') claims.exp = (claims.exp ?? seconds() + 5000) - 1 - below(5)
      else if (kind === 'sub') claims.sub = 'bob'
      else if (kind === 'no sub') delete claims.sub
      else if (kind === 'iss') claims.iss = 'there'
      else if (kind === 'no iss') delete claims.iss
      else if (kind === 'no exp' && random() < 0.3) delete claims.exp
      else if (kind === 'no iat') delete claims.iat
      else if (kind === 'role') claims.role = 'guest'
      else if (kind === 'signature') isGenuine = false
      else if (kind === 'expired') claims.exp = seconds() - below(10)
      return { claims, isGenuine }
    }
    const textOf = ({ claims, isGenuine }: Token): string => sign({ ...claims }, isGenuine ? undefined : 'x'.repeat(32))
    const byApi = async (token: Token): Promise<string> => await chat.connection.renew(textOf(token)).then(() => 'ok', ({ code }) => String(code))
    const byFrame = async (token: Token): Promise<string> => {
      const { type, expiresAt, code } = await chat.renewByFrame(textOf(token))
      t.ok(type === 'auth.error' || expiresAt === chat.connection.expiresAt, 'the answer tells when it expires')
      return code ?? 'ok'
    }

    const steps: Record<string, () => Promise<void>> = {
      renew: async () => {
        const token = nextToken()
        const isFrame = random() < 0.5 && model.closedBy === null
        const outcome = await (isFrame ? byFrame(token) : byApi(token))
        t.equal(outcome, model.renew(token, Date.now()), JSON.stringify({ isFrame, ...token, present: model.claims }))
        outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
      },
      'renew twice at once': async () => {
        const tokens = [nextToken(), nextToken()]
        const both = await Promise.all(tokens.map(byApi))
        const before = tokens.map(({ claims, isGenuine }) => isSlow ? model.refusal(claims, isGenuine, Date.now()) : null)
        t.strictSame(both, tokens.map((token, i) => model.renew(token, Date.now(), before[i])))
      },
      wait: async () => {
        const target = Date.now() + pick(10, 10, 1000, 1000, 3000, 5000, 15_000, random() < 0.2 ? 200_000 : 100)
        // Between the deadline and the second after it, it may be open or not.
        const isNear = target >= model.deadline && target < model.deadline + 1000
        clock.advance((isNear ? target + 1000 : target) - Date.now())
        model.pass(Date.now())
      },
      'wait until just before the deadline': async () => {
        const left = model.deadline - 1 - Date.now()
        if (Number.isFinite(left) && left > 0) clock.advance(left)
      },
      'lose or regain a role': async () => { model.isAllowed = isAllowed = random() < 0.7 }
    }
    const endings: Record<string, () => Promise<void>> = {
      'close by the app': async () => { chat.connection.close(4000, 'enough'); model.end('app', 4000, 'enough') },
      'close by the client': async () => { chat.client.close(4001, 'bye'); model.end('client', 4001, 'bye') },
      'loss of the network': async () => { chat.client.terminate(); model.end('lost', 1006, '') },
      'close of the app': async () => {
        const closing = { isOver: false }
        void app.close().then(() => { closing.isOver = true })
        model.end('shutdown', 1001, 'shutdown')
        while (!closing.isOver) {
          clock.advance(0.1)
          await turn()
        }
      }
    }
    const names: string[] = []
    for (let step = 0; step < STEPS; step++) {
      const isEnd = random() < 0.03
      const [name, run] = isEnd ? pick(...Object.entries(endings)) : pick(...Object.entries(steps), ['renew', steps.renew] as [string, () => Promise<void>])
      names.push(name)
      await run()
      if (model.closedBy !== null) {
        await eventually(() => chat.closed.code !== null && app.wsAuth.connections.size === 0, `${model.closedBy}: it is closed`)
      }
      t.strictSame(await observed(chat, app), expected(model, chat), names.join(', '))
    }
    outcomes[model.closedBy ?? 'open'] = (outcomes[model.closedBy ?? 'open'] ?? 0) + 1
    clock.exit()
  })
}

async function observed (chat: Chat, app: Awaited<ReturnType<typeof startChat>>['app']): Promise<object> {
  const { connection, request, closed } = chat
  const isHeard = await chat.isHeard()
  chat.received.length = chat.got.length = 0
  return {
    user: connection.user,
    requestUser: request.user,
    claims: connection.claims,
    expiresAt: connection.expiresAt,
    isHeard,
    closed: { ...closed },
    isRegistered: app.wsAuth.connections.get(connection.id) === connection,
    bySub: app.wsAuth.connections.bySub('ann').length,
    bySubOfOthers: app.wsAuth.connections.bySub('bob').length,
    stats: statsOf(app)
  }
}

function expected ({ claims, closedBy, close, renewed, refused }: Model, { connection }: Chat): object {
  const isOpen = closedBy === null
  return {
    user: claims,
    requestUser: claims,
    claims,
    expiresAt: claims.exp === undefined ? null : claims.exp * 1000,
    isHeard: isOpen,
    closed: close,
    isRegistered: isOpen,
    bySub: isOpen && connection.sub === 'ann' ? 1 : 0,
    bySubOfOthers: 0,
    stats: { connections: isOpen ? 1 : 0, pending: 0, accepted: 1, renewed, refused, closed: isOpen ? {} : { [closedBy]: 1 } }
  }
}

t.test('the drawn sequences reach each outcome', async (t) => {
  t.comment(JSON.stringify(outcomes))
  for (const outcome of ['ok', 'WS_AUTH_TOKEN_INVALID', 'WS_AUTH_TOKEN_EXPIRED', 'WS_AUTH_FORBIDDEN', 'open', 'token_expired', 'app', 'client', 'lost', 'shutdown']) {
    t.ok(outcomes[outcome], outcome)
  }
})
