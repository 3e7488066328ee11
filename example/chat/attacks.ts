/*
 * Three attacks, each on a hand-written websocket and on a guarded one. They are real: two servers listen, and a client
 * connects to both. The client is here and not in the page, because a page cannot choose the Origin that it sends.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { AttackClient } from './attack-client'
import { authenticate, checkOrigin, HttpError } from './guards'
import { createGuarded } from './guarded'
import { createHandWritten } from './hand-written'
import { createLimit } from './rate'

/** How one of the two websockets fared. */
interface Outcome {
  readonly isSafe: boolean
  /** The steps of the attack, in order. */
  readonly steps: string[]
}

/** One of the two servers, and a user of it. */
interface Target {
  readonly url: string
  /** What the server has logged last. */
  readonly lines: string[]
  /** A token of the user. */
  sign (seconds: number): string
}

/** Between the end of a token and the end of a guarded connection, in milliseconds: a second, and time for a slow machine. */
const SWEEP = 2000
const SECONDS = 6

const ATTACKS: Record<string, (target: Target) => Promise<Outcome>> = {
  /** Reads the token in the server's log, and connects with it. */
  async log ({ url, lines, sign }) {
    const victim = await AttackClient.connect(`${url}/chat?token=${sign(60)}`)
    victim.end()
    const logged = urlIn(lines)
    const thief = await AttackClient.connect(url + logged)
    thief.end()
    return { isSafe: !thief.isOpen, steps: [`The log says: ${logged}`, `A reader of the log connects to this URL: ${thief.state}`] }
  },

  /** Goes on talking when the token has expired. */
  async expiry ({ url, sign }) {
    const client = await AttackClient.connect(`${url}/chat`, { cookie: `token=${sign(SECONDS)}` })
    await delay(SECONDS * 1000 + SWEEP)
    const answer = await client.say('still here')
    client.end()
    return { isSafe: answer === null, steps: [`The token of ${SECONDS} s has expired, and the client talks: ${answer ?? client.state}`] }
  },

  /** Uses the cookie of a user from another site. */
  async origin ({ url, sign }) {
    const client = await AttackClient.connect(`${url}/chat`, { cookie: `token=${sign(60)}`, origin: 'https://evil.example' })
    const answer = await client.say('send me your secrets')
    client.end()
    return { isSafe: answer === null, steps: [`A page of https://evil.example connects, and the browser adds the cookie: ${answer ?? client.state}`] }
  }
}

/** The URL of the last handshake in a log, with a query if one has it. */
function urlIn (lines: string[]): string {
  const urls = lines.map((line) => /"url":"([^"]*)"/.exec(line)?.[1]).filter((url) => url !== undefined)
  return urls.findLast((url) => url.includes('?')) ?? urls.at(-1) ?? ''
}

export function addAttacks (app: FastifyInstance): void {
  const secret = randomBytes(32).toString('hex')
  const mayAttack = createLimit(30, 60_000)
  const servers: FastifyInstance[] = []
  let started: Promise<[Started, Started]> | undefined

  const start = async (create: typeof createGuarded): Promise<Started> => {
    const lines: string[] = []
    const server = await create(secret, (line) => { if (lines.push(line) > 200) lines.shift() })
    servers.push(server)
    return { server, url: (await server.listen({ host: '127.0.0.1', port: 0 })).replace('http', 'ws'), lines }
  }
  // With the first attack, so that a server that is not attacked has one port.
  const startBoth = (): Promise<[Started, Started]> => Promise.all([start(createHandWritten), start(createGuarded)])
  app.addHook('onClose', async () => { await Promise.all(servers.map((server) => server.close())) })

  const params = { type: 'object', properties: { name: { type: 'string', enum: Object.keys(ATTACKS) } } }
  app.post<{ Params: { name: string } }>('/attacks/:name', { onRequest: [checkOrigin, authenticate], schema: { params } }, async ({ params: { name }, ip, user }) => {
    if (!mayAttack(ip)) throw new HttpError(429, 'Too many attacks: wait a minute')
    const targets = await (started ??= startBoth())
    const [handWritten, guarded] = await Promise.all(targets.map(async ({ server, url, lines }) => await ATTACKS[name]?.({
      url, lines, sign: (seconds) => server.jwt.sign({ ...user, use: 'connection' }, { expiresIn: seconds })
    })))
    return { handWritten, guarded }
  })
}

interface Started { readonly server: FastifyInstance, readonly url: string, readonly lines: string[] }
