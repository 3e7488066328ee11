/*
 * The users, and their passwords. The page shows the passwords, because this is a demonstration.
 */
import { randomBytes, randomUUID, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import type { WsAuthRole as Role } from 'fastify-ws-auth'

/**
 * The claims of a token. `sid` names one login: a logout ends what that login has opened. The cookie holds the login.
 * Scripts can read the tokens for a connection, which are good for nothing else.
 */
export interface User { sub: string, roles: Role[], sid: string, use: 'login' | 'connection' }

// `request.user` is a User everywhere, and a route that asks for the role 'admn' does not compile.
declare module '@fastify/jwt' { interface FastifyJWT { user: User } }
declare module 'fastify-ws-auth' { interface WsAuthTypes { role: 'member' | 'admin' } }

interface Account { roles: Role[], salt: Buffer, hash: Buffer }

const derive = promisify<string, Buffer, number, Buffer>(scrypt)
const account = (roles: Role[], salt: string, hash: string): Account =>
  ({ roles, salt: Buffer.from(salt, 'base64'), hash: Buffer.from(hash, 'base64') })

const ACCOUNTS = new Map<string, Account>([
  ['ann', account(['member'], '0PLtm+nNaIjC5fLebr+bcg==', 'O36QmHi98Rg3BrOcu2M68xDfP44B4Ba/Usjx7pNYzs8=')],
  ['bea', account(['member', 'admin'], 'GWA738o8JtDMU5gLKFDyXw==', '+/Rog3oGt2O1BWo0pnmjbDljVsLWNUB5zimp++K3SRg=')]
])
/** Stands in for an unknown name, so that it takes as long to refuse as a wrong password. */
const NOBODY: Account = { roles: [], salt: randomBytes(16), hash: randomBytes(32) }

/** The user of a new login, or `null` if the name or the password is wrong. */
export async function findUser (name: string, password: string): Promise<User | null> {
  const { roles, salt, hash } = ACCOUNTS.get(name) ?? NOBODY
  const isRight = timingSafeEqual(await derive(password, salt, hash.length), hash)
  return isRight ? { sub: name, roles, sid: randomUUID(), use: 'login' } : null
}

/** What a page may know of a user. */
export function profileOf ({ sub, roles }: User): object {
  return { name: sub, roles }
}
