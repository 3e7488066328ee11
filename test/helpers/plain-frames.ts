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
  if (!isWhole(expiresIn) || Object.keys(rest).length > 0) throw new Error(`no hint: ${text}`)
  return JSON.stringify({ type })
}

function plainOk (text: string): string {
  return JSON.stringify(plainAnswer(JSON.parse(text)))
}

/** Leaves `type` and `expiresAt` of an `auth.ok` that was read. @throws Error if it is another frame */
export function plainAnswer (frame: Record<string, unknown>): object {
  const { type, connection, expiresAt, expiresIn, endsIn, ...rest } = frame as { connection: string, expiresAt: number | null, expiresIn: number | null, endsIn: number | null } & Record<string, unknown>
  const isIn = expiresAt === null ? expiresIn === null : isWhole(expiresIn) && Math.abs(Math.max(expiresAt - Date.now(), 0) - expiresIn) < ROUGHLY
  const isOk = type === 'auth.ok' && ID.test(connection) && isIn && (endsIn === null || isWhole(endsIn))
  if (!isOk || Object.keys(rest).length > 0) throw new Error(`no auth.ok of an open connection: ${JSON.stringify(frame)}`)
  return { type, expiresAt }
}

function isWhole (value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0
}

/** What a page got, as `message <text>`, with the plain text of a frame. */
export function plainEvent (event: string): string {
  return event.startsWith('message ') ? `message ${plain(event.slice(8))}` : event
}

/** The same with nothing but the type of a frame. */
export function typeOfEvent (event: string): string {
  const [, type] = /^message \{"type":"(auth\.\w+)"/.exec(event) ?? []
  return type === undefined ? event : `message ${type}`
}
