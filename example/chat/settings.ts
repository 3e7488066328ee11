/*
 * What the environment says, and the times that several files agree on.
 */
import { randomBytes } from 'node:crypto'

/** A proxy in front speaks TLS. */
export const IS_HTTPS = process.env.HTTPS === '1'

/** All instances share it, so that a login at one is a login at all. */
export const SECRET = process.env.JWT_SECRET || randomBytes(32).toString('hex')

// Only a Secure cookie may be called __Host-, a prefix that keeps other hosts of the domain from setting it. Not all
// browsers send Secure cookies to http://localhost, so the cookie has a plain name there.
export const COOKIE = IS_HTTPS ? '__Host-chat_token' : 'chat_token'
export const COOKIE_OPTIONS = { httpOnly: true, sameSite: 'strict', path: '/', secure: IS_HTTPS } as const

export const LOGIN_SECONDS = 8 * 60 * 60

/** The longest life of a token that scripts can read. A client may ask for less, to see sooner what becomes of a connection. */
export const TOKEN_SECONDS = 5 * 60
