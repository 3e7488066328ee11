/*
 * Checks at the start that the replies of the app's client have a form that is read here, by a first exchange. Without it, a client
 * whose replies have another form would look as a Redis in which nothing is ever written.
 */
import { openInboxCommands } from './answer-stream'
import { UnusableClientError } from './client/connection'
import type { RedisConnection } from './client/connection'
import { entriesOf, pairsOf } from './client/replies'
import type { Keys } from './keys'

/** A value that another encoding would change. */
const TEXT = 'é "\0'
/** How long the keys of the exchange last, in milliseconds. */
const TTL = '60000'

/**
 * Reads one reply of each form. An error of Redis or of the network says nothing about the client: nothing is checked then.
 *
 * @param app the app's connection
 * @param own the connection that reads the log
 * @throws UnusableClientError if a reply has another form, and the errors of `own`
 */
export async function checkClient (app: RedisConnection, own: RedisConnection, keys: Keys, id: string): Promise<void> {
  const [text, set] = [keys.value(`check:${id}`), keys.value(`check:${id}:set`)]
  const written = await ifAnswered(app.transact([
    ...openInboxCommands(keys, id),
    ['SET', text, TEXT, 'PX', TTL, 'NX'], ['SET', text, '', 'NX'], ['GETDEL', text], ['GETDEL', text],
    ['ZADD', set, '1.5', TEXT], ['PEXPIRE', set, TTL], ['ZRANGEBYSCORE', set, '-inf', '+inf']
  ]))
  // A Redis that is full or a replica takes no writes.
  if (written === null || written.some((reply) => reply instanceof Error)) return
  const [entry, , isSet, isSetAgain, taken, takenAgain, , , members] = written
  expect('XADD', /^\d+-\d+$/.test(String(entry)))
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
  const streams = pairsOf(await send(['XREAD', 'COUNT', '10', 'STREAMS', inbox, '0-0']))
  expect('XREAD', has(streams.find(([name]) => name.endsWith(inbox))?.[1]))
  expect('XRANGE', has(await send(['XRANGE', inbox, entry, entry])))
  const info = new Map(pairsOf(await send(['XINFO', 'STREAM', inbox])))
  expect('XINFO', String(info.get('last-generated-id')) === entry)
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
