/*
 * What clients of the chaos run say, drawn at random: right and wrong tokens in each place where one may be.
 */
import { sign } from '../app'
import type { Dice } from './dice'
import type { Part } from './mischief'
import { requestText } from '../raw-client'
import type { RequestSettings } from '../raw-client'

export const USERS = 50

/** The claims that were put into tokens last: what is worth revoking. */
export interface Minted {
  readonly sub: string
  readonly sid: string
  readonly jti: string
}

/** What the clients of a run share. */
export interface Supplies {
  /** Tickets, spent or not. */
  readonly tickets: string[]
  readonly minted: Minted[]
}

const MOST_MINTED = 100

/** The path, and whether a first message is waited for there. */
type PathKind = readonly [string, boolean]

const PATHS: readonly [PathKind, ...PathKind[]] = [
  ['/chat', true], ['/chat', true], ['/chat', true], ['/hasty', true], ['/hasty', true], ['/strict', false], ['/strict', false], ['/closing', false], ['/closing', false],
  ['/optional', false], ['/short', true], ['/both', true], ['/public', false], ['/plain', false], ['/nowhere', false], ['/%zz', false], ['/ws-ticket', false]
]

type Headers = NonNullable<RequestSettings['headers']>

/** A part for the client of this number. */
export function drawPart (dice: Dice, number: number, supplies: Supplies): Part & { readonly path: string } {
  const user = dice.below(USERS)
  const token = (): string => drawToken(dice, dice.chance(0.03) ? dice.below(USERS) : user, `${number}`, supplies)
  const [path, knowsMessages] = dice.one(...PATHS)
  const hasFirstMessage = knowsMessages && dice.chance(0.4)
  const carried = hasFirstMessage && path !== '/both' ? { path, headers: {} } : carry(dice, path, token(), supplies)
  const headers: Headers = {
    'x-client': `${number}`,
    ...carried.headers,
    ...(dice.chance(0.15) && { origin: dice.one('http://localhost', 'https://evil.example') }),
    ...(dice.chance(0.06) && { 'x-hook': dice.one('wait', 'wait', 'throw', 'answer', 'hang', 'hang early') }),
    ...(dice.chance(0.02) && { 'sec-websocket-version': '12' }),
    ...(dice.chance(0.02) && { 'sec-websocket-key': 'short' })
  }
  const method = dice.chance(0.01) ? 'POST' : 'GET'
  return { path, request: requestText({ method, path: carried.path, headers }), hasFirstMessage, token, isWild: true }
}

/** One that says nothing more once it is open. */
export function quietPart (dice: Dice, number: number, supplies: Supplies): Part & { readonly path: string } {
  const token = drawToken(dice, number, `quiet ${number}`, supplies, 600)
  const path = '/chat'
  return { path, request: requestText({ path, headers: { 'x-client': `quiet ${number}`, 'x-calm': '1', authorization: `Bearer ${token}` } }), hasFirstMessage: false, token: () => token, isWild: false }
}

function carry (dice: Dice, path: string, token: string, { tickets }: Supplies): { path: string, headers: Headers } {
  const [start, marked] = ['bearer', `base64url.bearer.${Buffer.from(token).toString('base64url')}`]
  const ticket = tickets[dice.below(tickets.length)] ?? 'A'.repeat(43)
  return dice.one<() => { path: string, headers: Headers }>(
    () => ({ path, headers: { authorization: `Bearer ${token}` } }),
  () => ({ path, headers: { authorization: `Bearer ${token}` } }),
  () => ({ path: `${path}?token=${token}&more=1`, headers: {} }),
  () => ({ path, headers: { 'sec-websocket-protocol': `${start}, ${token}, chat` } }),
  () => ({ path, headers: { 'sec-websocket-protocol': `chat, ${marked}` } }),
  () => ({ path, headers: { cookie: `a=b; token=${token}` } }),
  () => ({ path: `${path}?ticket=${ticket}`, headers: {} }),
  () => ({ path: `${path}?ticket=${ticket}`, headers: { cookie: `token=${token}` } }),
  () => ({ path: `${path}?token=${token}`, headers: { authorization: `Bearer ${token}` } }),
  () => ({ path: `${path}?ticket=${ticket}`, headers: { authorization: `Bearer ${token}` } }),
  () => ({ path, headers: {} })
  )()
}

function drawToken (dice: Dice, user: number, number: string, { minted }: Supplies, lifetime = dice.one(60, 60, 1, 2, 3)): string {
  const now = Math.floor(Date.now() / 1000)
  const sub = `user ${user}`
  const claims = { sub, sid: `${sub}/${dice.below(3)}`, jti: `${number}/${dice.below(1e6)}`, iat: now - dice.below(3), exp: now + lifetime, roles: [dice.chance(0.9) ? 'member' : 'guest'] }
  minted.push(claims)
  if (minted.length > MOST_MINTED) minted.shift()
  if (lifetime > 60 || dice.chance(0.82)) return sign(claims)
  const good = sign(claims)
  return dice.one<() => string>(
    () => 'nonsense',
  () => '',
  () => good.slice(0, dice.below(good.length)),
  () => `${good}x`,
  () => `eyJhbGciOiJub25lIn0.${good.split('.')[1]}.`,
  () => sign(claims, 'another secret of thirty-two byte'),
  () => sign({ ...claims, exp: now - 1 }),
  () => sign({ ...claims, exp: 'soon' }),
  () => sign({ ...claims, sub: 7 }),
  () => sign({ ...claims, iat: now + 3600 }),
  () => sign({ ...claims, filling: 'x'.repeat(8000) }),
  () => sign({ ...claims, act: 'wait' }),
  () => sign({ ...claims, act: 'wait' }),
  () => sign({ ...claims, act: 'wait' }),
  () => sign({ ...claims, act: 'hang' }),
  () => sign({ ...claims, act: 'deny' }),
  () => sign({ ...claims, act: 'throw' }),
  () => sign({ ...claims, act: 'reject' })
  )()
}
