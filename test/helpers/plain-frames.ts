/*
 * Frames of the plugin without what differs from connection to connection and from moment to moment.
 */
const ID = /^[\w-]{22}$/
const ROUGHLY = 60_000

/** Leaves `type` and `expiresAt` of an `auth.ok`, and `type` of an `auth.renew`, once the rest was checked. Other texts stay as they are. */
export function plain (text: string): string {
  if (text.startsWith('{"type":"auth.ok",')) return plainOk(text)
  if (!text.startsWith('{"type":"auth.renew",')) return text
  const { type, expiresIn, ...rest } = JSON.parse(text)
  if (!Number.isInteger(expiresIn) || expiresIn < 0 || Object.keys(rest).length > 0) throw new Error(`no hint: ${text}`)
  return JSON.stringify({ type })
}

function plainOk (text: string): string {
  const { type, connection, expiresAt, expiresIn, endsIn, ...rest } = JSON.parse(text)
  const isIn = expiresAt === null ? expiresIn === null : Number.isInteger(expiresIn) && Math.abs(Math.max(expiresAt - Date.now(), 0) - expiresIn) < ROUGHLY
  const isEnd = endsIn === null || (Number.isInteger(endsIn) && endsIn >= 0)
  if (!ID.test(connection) || !isIn || !isEnd || Object.keys(rest).length > 0) throw new Error(`no auth.ok of an open connection: ${text}`)
  return JSON.stringify({ type, expiresAt })
}
