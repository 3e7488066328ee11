/*
 * Checks at the start that the replies of the app's client have a form that is read here, by a first exchange. Without it, a client
 * whose replies have another form would look as a Redis in which nothing is ever written.
 */
import { openInboxCommands } from './answer-stream'
import { UnusableClientError } from './client/connection'
import type { RedisConnection } from './client/connection'
import { entriesOf, pairsOf } from './client/replies'
import type { Keys } from './keys'

/** The id of an entry of a stream: milliseconds and a sequence number. */
const ENTRY_ID = /^\d+-\d+$/
/** A value that another encoding would change. */
const TEXT = 'é "\0'
/** How long the keys of the exchange last, in milliseconds. */
const TTL = '60000'

/** How often the exchange is made: a Redis that is flushed, or fails over, during one has forgotten what was written. */
const ATTEMPTS = 3

/**
 * Reads one reply of each form. An error of Redis or of the network says nothing about the client: nothing is checked then.
 *
 * @param app the app's connection
 * @param own the connection that reads the log
 * @throws UnusableClientError if a reply has another form, and the errors of `own`
 */
export async function checkClient (app: RedisConnection, own: RedisConnection, keys: Keys, id: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await exchange(app, own, keys, id)
      return
    } catch (error) {
      if (!(error instanceof UnusableClientError) || attempt === ATTEMPTS) throw error
    }
  }
}

async function exchange (app: RedisConnection, own: RedisConnection, keys: Keys, id: string): Promise<void> {
  const [text, set] = [keys.value(`check:${id}`), keys.value(`check:${id}:set`)]
  const written = await ifAnswered(app.transact([
    ...openInboxCommands(keys, id),
    ['SET', text, TEXT, 'PX', TTL, 'NX'], ['SET', text, '', 'NX'], ['GETDEL', text], ['GETDEL', text],
    ['ZADD', set, '1.5', TEXT], ['PEXPIRE', set, TTL], ['ZRANGEBYSCORE', set, '-inf', '+inf']
  ]))
  // A Redis that is full or a replica takes no writes.
  if (written === null || written.some((reply) => reply instanceof Error)) return
  const [entry, , isSet, isSetAgain, taken, takenAgain, , , members] = written
  expect('XADD', ENTRY_ID.test(String(entry)))
  expect('SET', isSet !== null && isSet !== undefined && isNone(isSetAgain))
  expect('GETDEL', String(taken) === TEXT && isNone(takenAgain))
  expect('ZRANGEBYSCORE', Array.isArray(members) && members.map(String).includes(TEXT))
  await checkReads(own, keys.inbox(id), String(entry), id)
  await checkScan(own, set)
  const none = await ifAnswered(app.send(['GET', text]).then((reply) => [reply]))
  expect('GET', none === null || isNone(none[0]))
}

async function checkReads ({ send }: RedisConnection, inbox: string, entry: string, id: string): Promise<void> {
  const has = (entries: unknown): boolean => entriesOf(entries).some((one) => one.id === entry && one.fields.get('asks') === id)
  // Other instances may write answers into the inbox meanwhile.
  const streams = pairsOf(await send(['XREAD', 'COUNT', '10', 'STREAMS', inbox, idBefore(entry)]))
  expect('XREAD', has(streams.find(([name]) => name.endsWith(inbox))?.[1]))
  expect('XRANGE', has(await send(['XRANGE', inbox, entry, entry])))
  const info = new Map(pairsOf(await send(['XINFO', 'STREAM', inbox])))
  expect('XINFO', ENTRY_ID.test(String(info.get('last-generated-id'))))
}

/** The highest id before another. */
function idBefore (entry: string): string {
  const [time = 0n, sequence = 0n] = entry.split('-').map(BigInt)
  return sequence > 0n ? `${time}-${sequence - 1n}` : `${time - 1n}-${2n ** 64n - 1n}`
}

async function checkScan ({ send }: RedisConnection, set: string): Promise<void> {
  const reply = await send(['ZSCAN', set, '0', 'COUNT', '10'])
  const [cursor, members] = Array.isArray(reply) ? reply as unknown[] : []
  expect('ZSCAN', String(cursor) === '0' && pairsOf(members).some(([member, score]) => member === TEXT && Number(score) === 1.5))
  await send(['DEL', set])
}

/** The replies, or `null` if there are none. @throws UnusableClientError */
async function ifAnswered (replies: Promise<unknown[]>): Promise<unknown[] | null> {
  try {
    return await replies
  } catch (error) {
    if (error instanceof UnusableClientError) throw error
    return null
  }
}

function isNone (reply: unknown): boolean {
  return reply === null || reply === undefined
}

function expect (command: string, isRead: boolean): void {
  if (!isRead) throw new UnusableClientError(`a client whose replies can be read, and its reply to ${command} has another form than that of ioredis, iovalkey or node-redis`)
}
