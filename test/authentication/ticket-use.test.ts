/*
 * Tickets by themselves: what is kept of one, what is read of it again, and in which words it is refused.
 */
import t from 'tap'
import type { BackplaneLink } from '../../lib/backplane/contract'
import type { Claims } from '../../lib/token/claims'
import { WsAuthError } from '../../lib/base/errors'
import { readBinding } from '../../lib/authentication/ticket-binding'
import { claimsOfTicket, Tickets } from '../../lib/authentication/tickets'
import type { TicketUse } from '../../lib/authentication/tickets'
import { setClock } from '../helpers/moved-clock'

const RULES = { required: ['iss'], clockTolerance: 0, checkExpiry: true, checkNotBefore: true, maxAge: null }
const USE: TicketUse = { path: '/chat', origin: undefined, isSpent: true }
const ANN: Claims = { sub: 'ann' }

interface Store {
  readonly tickets: Tickets
  readonly kept: Map<string, string>
  readonly ttls: number[]
}

/** Tickets, and what is kept of them. */
function open (over: Partial<BackplaneLink> = {}, rules: Partial<typeof RULES> & { maxAge?: never } = {}): Store {
  const kept = new Map<string, string>()
  const ttls: number[] = []
  const link = {
    put: (name: string, value: string, ttl: number) => { kept.set(name, value); ttls.push(ttl); return true },
    get: (name: string) => kept.get(name) ?? null,
    take: (name: string) => { const value = kept.get(name) ?? null; kept.delete(name); return value },
    ...over
  } as unknown as BackplaneLink
  return { tickets: new Tickets(link, 30_000, { ...RULES, ...rules }), kept, ttls }
}

/** The code and the cause of the refusal of a ticket, or whom it admits. */
async function outcomeOf ({ tickets }: Store, ticket: string, use: Partial<TicketUse> = {}): Promise<string> {
  try {
    const { claims, user } = await tickets.read(ticket, { ...USE, ...use })
    return user === claims ? JSON.stringify(claims) : `${JSON.stringify(claims)} as ${JSON.stringify(user)}`
  } catch (error) {
    if (!(error instanceof WsAuthError)) throw error
    return `${error.code}: ${String(error.cause)}`
  }
}

t.test('a ticket is stored by its hash, until it expires, with no more data than it needs', async (t) => {
  const { tickets, kept, ttls } = open()
  const { ticket, expiresIn } = await tickets.issue({ claims: ANN, user: ANN }, {})
  t.match(ticket, /^[\w-]{43}$/)
  t.equal(expiresIn, 30_000)
  t.strictSame(ttls, [30_000])
  const [[name, value] = []] = [...kept]
  t.match(name, /^ticket:[\w-]{43}$/)
  t.notMatch(name, ticket)
  t.equal(value, '{"claims":{"sub":"ann"}}')
})

t.test('the user that formatUser made is stored beside the claims, also if it is null', async (t) => {
  const store = open()
  for (const [user, expected] of [[ANN, '{"sub":"ann"}'], [{ name: 'Ann' }, '{"sub":"ann"} as {"name":"Ann"}'], [null, '{"sub":"ann"} as null'], [undefined, '{"sub":"ann"} as null'], ['ann', '{"sub":"ann"} as "ann"']] as const) {
    const { ticket } = await store.tickets.issue({ claims: ANN, user }, {})
    t.equal(await outcomeOf(store, ticket), expected)
  }
})

t.test('the claims and the user of a ticket are frozen to any depth', async (t) => {
  const { tickets } = open()
  const { ticket } = await tickets.issue({ claims: { roles: ['a'] }, user: { nested: { x: [1] } } }, {})
  const { claims, user } = await tickets.read(ticket, USE) as { claims: { roles: string[] }, user: { nested: { x: number[] } } }
  for (const value of [claims, claims.roles, user, user.nested, user.nested.x]) t.ok(Object.isFrozen(value))
})

t.test('a handshake spends a ticket, and a dry run does not', async (t) => {
  const store = open()
  const { ticket } = await store.tickets.issue({ claims: ANN, user: ANN }, {})
  for (let i = 0; i < 2; i++) t.equal(await outcomeOf(store, ticket, { isSpent: false }), '{"sub":"ann"}')
  t.equal(await outcomeOf(store, ticket), '{"sub":"ann"}')
  for (const isSpent of [true, false]) t.equal(await outcomeOf(store, ticket, { isSpent }), 'WS_AUTH_TICKET_INVALID: it is unknown, spent or expired')
})

t.test('the store is not asked about a text without the form of a ticket', async (t) => {
  const never = (): never => { throw new Error('must not be asked') }
  const store = open({ get: never, take: never })
  for (const ticket of ['', 'x', 'x'.repeat(42), 'x'.repeat(44), `${'x'.repeat(42)}=`, `${'x'.repeat(43)}\n`, ` ${'x'.repeat(43)}`, `${'x'.repeat(43)} `]) {
    t.equal(await outcomeOf(store, ticket), 'WS_AUTH_TICKET_INVALID: it does not have the form of a ticket')
  }
})

t.test('a bound ticket admits exactly its own path and origin', async (t) => {
  const store = open()
  const ask = async (binding: object, use: Partial<TicketUse>): Promise<string> => await outcomeOf(store, (await store.tickets.issue({ claims: ANN, user: ANN }, binding)).ticket, use)
  const good = '{"sub":"ann"}'
  const path = 'WS_AUTH_TICKET_INVALID: it is bound to another path'
  const origin = 'WS_AUTH_TICKET_INVALID: it is bound to another origin'
  t.equal(await ask({}, { path: '/any', origin: 'https://any.test' }), good)
  t.equal(await ask({ path: '/chat' }, {}), good)
  for (const other of ['/Chat', '/chat/', '/', '', '/chats']) t.equal(await ask({ path: '/chat' }, { path: other }), path)
  t.equal(await ask({ origin: 'https://a.test' }, { origin: 'https://a.test' }), good)
  for (const other of [undefined, '', 'https://A.test', 'http://a.test', 'https://a.test:443', 'null']) t.equal(await ask({ origin: 'https://a.test' }, { origin: other }), origin)
  t.equal(await ask({ path: '/chat', origin: 'https://a.test' }, { origin: 'https://a.test' }), good)
})

t.test('a ticket is checked by the times in its claims when it is issued and used, and not by required claims', async (t) => {
  const now = Math.floor(Date.now() / 1000)
  const store = open()
  await t.rejects(store.tickets.issue({ claims: { exp: now - 1 }, user: null }, {}), { code: 'WS_AUTH_TOKEN_EXPIRED' })
  t.equal(store.kept.size, 0)
  const claims = { exp: now + 10 }
  const { ticket } = await store.tickets.issue({ claims, user: claims }, {})
  setClock(t, 20_000)
  t.match(await outcomeOf(store, ticket), /^WS_AUTH_TOKEN_EXPIRED/)
  const lax = open({}, { checkExpiry: false })
  const issued = await lax.tickets.issue({ claims: { exp: 1 }, user: null }, {})
  t.equal(await outcomeOf(lax, issued.ticket), '{"exp":1} as null', 'the rules are those of the verifier')
})

t.test('a store that fails makes issue and read fail, and a slow store is waited for', async (t) => {
  const error = new Error('the store is down')
  for (const put of [() => { throw error }, async () => { throw error }]) {
    await t.rejects(open({ put }).tickets.issue({ claims: ANN, user: ANN }, {}), { code: 'WS_AUTH_UNAVAILABLE', cause: error })
  }
  for (const take of [() => { throw error }, async () => { throw error }]) {
    await t.rejects(async () => await open({ take }).tickets.read('x'.repeat(43), USE), error)
  }
  const later = open({ take: async () => '{"claims":{"sub":"ann"}}' })
  t.equal(await outcomeOf(later, 'x'.repeat(43)), '{"sub":"ann"}')
})

t.test('foreign data in the store is read if it is a ticket, and refused with a reason if not', async (t) => {
  for (const text of ['', 'x', '{', 'null', '7', '"x"', '[]', '{}', '{"claims":null}', '{"claims":"x"}', '{"claims":[]}', '{"user":{"sub":"ann"}}']) {
    t.equal(await outcomeOf(open({ take: () => text }), 'x'.repeat(43)), 'WS_AUTH_TICKET_INVALID: its stored data cannot be read', text)
  }
  t.equal(await outcomeOf(open({ take: () => '{"claims":{"sub":"ann"},"path":"/other"}' }), 'x'.repeat(43)), 'WS_AUTH_TICKET_INVALID: it is bound to another path')
})

t.test('claims that JSON cannot hold cause a TypeError with its cause', async (t) => {
  const error: unknown = await open().tickets.issue({ claims: { big: 1n }, user: null }, {}).catch((error: unknown) => error)
  t.match(error, { name: 'TypeError', message: '"claims" must be data that JSON can hold' })
  t.match((error as Error).cause, { name: 'TypeError', message: /BigInt/ })
})

t.test('claims of the app get the present as their iat unless they have one, and their exp is in seconds', async (t) => {
  const given = { sub: 'ann', roles: ['a'] }
  const before = Math.floor(Date.now() / 1000)
  const { iat, ...rest } = claimsOfTicket(given)
  t.ok(Number.isInteger(iat) && Number(iat) >= before && Number(iat) <= Date.now() / 1000)
  t.strictSame(rest, given)
  t.notOk(Object.isFrozen(given.roles))
  t.ok(Object.isFrozen(claimsOfTicket(given).roles))
  for (const iat of [0, 1, 1.5]) t.equal(claimsOfTicket({ iat }).iat, iat)
  for (const iat of [null, undefined]) t.ok(Number(claimsOfTicket({ iat }).iat) >= before)
  for (const exp of [1e11, 1e11 + 1, 1.7e12]) t.throws(() => claimsOfTicket({ exp }), { name: 'TypeError', message: '"claims.exp" must be in seconds since the epoch, not in milliseconds' })
  for (const exp of [0, 1.7e9, 1e11 - 1, '1700000000000', Infinity, null]) t.equal(claimsOfTicket({ exp }).exp, exp)
  for (const claims of [undefined, null, 'x', [], 7]) t.throws(() => claimsOfTicket(claims), { name: 'TypeError', message: '"claims" must be an object' })
})

t.test('a binding takes a path without a query and an origin, and no other option', async (t) => {
  t.strictSame(readBinding({}), { path: undefined, origin: undefined })
  for (const path of ['/', '/chat', '/a/b%20c', '/a;b']) t.strictSame(readBinding({ path, origin: 'https://a.test' }), { path, origin: 'https://a.test' })
  for (const path of ['', 'chat', 'x/chat', '/chat?', '/chat?a=1', '/chat#', '/a#b', null, 7, ['/chat'], Object('/chat')]) {
    t.throws(() => readBinding({ path }), { name: 'TypeError', message: '"options.path" must be the path of a URL, without a query' }, String(path))
  }
  for (const origin of ['', 'a.test', 'https://a.test/', 'null', null, 7]) {
    t.throws(() => readBinding({ origin }), { name: 'TypeError', message: '"options.origin" must be an origin, such as \'https://example.com\'' }, String(origin))
  }
  t.throws(() => readBinding({ ttl: 5 }), { name: 'TypeError', message: '"options.ttl" must be left out: there is no such option' })
  for (const binding of [undefined, null, 'x', []]) t.throws(() => readBinding(binding), { name: 'TypeError', message: '"options" must be an object' })
})
