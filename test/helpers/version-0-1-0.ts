/*
 * Version 0.1.0 of the package, as npm packs it from its commit, and an instance that runs it.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import type { FastifyPluginAsync } from 'fastify'
import type { Test } from 'tap'
import type fastifyWsAuth from '../../lib/index'
import type { redisBackplane } from '../../lib/backplane/redis/index'
import { SECRET } from './app'
import { addEcho, reach } from './cluster-of-apps'
import type { Member } from './cluster-of-apps'
import type { RedisServer } from './redis'

const ROOT = process.cwd()
const COMMIT = 'e9fcd73cc0b8ccdb3cc91870d7ae588d6647a7a3'
const COMPILER = join(ROOT, 'node_modules/typescript-7/bin/tsc')

/** The package as its users load it. What is used of it is as it is today. */
export interface OldPackage {
  readonly plugin: FastifyPluginAsync<fastifyWsAuth.WsAuthOptions>
  readonly redisBackplane: typeof redisBackplane
}

/** Why the version cannot be built here, or `false`: a clone without its history does not have the commit, and nothing can install it. A whole clone has it, or the test fails. */
export function reasonToSkip (): string | false {
  if (git('cat-file', '-e', `${COMMIT}^{commit}`) !== null || git('rev-parse', '--is-shallow-repository') === 'false') return false
  const reason = `NOT TESTED with instances of 0.1.0: the commit ${COMMIT.slice(0, 7)} is not in this clone. Run git fetch --unshallow`
  console.error(reason)
  return reason
}

/** Returns what git says, or `null` if it fails. */
function git (...args: string[]): string | null {
  const { status, stdout } = spawnSync('git', args, { cwd: ROOT, encoding: 'utf8' })
  return status === 0 ? stdout.trim() : null
}

/** Builds the package from its commit, packs it and loads it. */
export function loadOldPackage (t: Pick<Test, 'teardown'>): OldPackage {
  const folder = mkdtempSync(join(tmpdir(), 'fastify-ws-auth-0.1.0-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  const archive = execFileSync('git', ['archive', COMMIT, 'package.json', 'tsconfig.json', 'lib'], { cwd: ROOT, maxBuffer: 2 ** 26 })
  execFileSync('tar', ['-x'], { cwd: folder, input: archive })
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  execFileSync(process.execPath, [COMPILER, '-p', 'lib'], { cwd: folder })
  execFileSync('npm', ['pack', '--ignore-scripts', '--silent'], { cwd: folder })
  const [tarball = ''] = readdirSync(folder).filter((name) => name.endsWith('.tgz'))
  const unpacked = join(folder, 'unpacked')
  mkdirSync(unpacked)
  execFileSync('tar', ['-xzf', join(folder, tarball)], { cwd: unpacked })
  const load = (file: string): unknown => require(join(unpacked, 'package', file))
  const { version } = load('package.json') as { version: string }
  if (version !== '0.1.0') throw new Error(`the commit has the version ${version}`)
  return { plugin: load('dist/index.js') as OldPackage['plugin'], redisBackplane: (load('dist/redis/index.js') as OldPackage).redisBackplane }
}

/** Starts an instance of the version, as `startMember` does one of this version. */
export async function startOldMember (t: Test, server: RedisServer, { plugin, redisBackplane }: OldPackage): Promise<Member> {
  const log: Array<{ level: number, msg: string }> = []
  const app = Fastify({ logger: { level: 'info', stream: { write: (line: string) => { log.push(JSON.parse(line) as typeof log[number]) } } } })
  t.teardown(async () => await app.close())
  const client = server.client()
  await app.register(plugin, { jwt: { secret: SECRET }, tickets: true, backplane: redisBackplane({ client }) })
  addEcho(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  return {
    app,
    client,
    ...reach(t, (app.server.address() as AddressInfo).port),
    told: () => [...new Set(log.filter(({ level }) => level >= 40).map(({ msg }) => msg))],
    size: () => app.wsAuth.connections.size
  }
}
