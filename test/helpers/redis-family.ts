/*
 * Servers of the Redis family that a test starts on ports of its own: alone, with TLS, as a cluster, and behind a sentinel. All end
 * with the test.
 */
import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import { CERTIFICATE, KEY } from './certificate'
import { freePort, freePorts } from './free-port'
import { openClient } from './redis'

/** A program of the family. */
export interface Family {
  readonly name: string
  readonly executable: string
  /** Why there can be no test with it here, or `false`. Where it is expected to run (CI) nothing is skipped: it fails. */
  readonly skip: string | false
  /** The rights that the README adds for this version. */
  readonly rules: readonly string[]
}

interface Tearing { teardown (end: () => unknown): void }

export const FAMILIES: readonly Family[] = [
  familyOf('Redis', process.env.REDIS_SERVER_PATH || 'redis-server', 'REDIS_SERVER_PATH'),
  familyOf('Valkey', process.env.VALKEY_SERVER_PATH || 'valkey-server', 'VALKEY_SERVER_PATH')
]

function familyOf (name: string, executable: string, variable: string): Family {
  const { status, stdout } = spawnSync(executable, ['--version'], { encoding: 'utf8' })
  const [, version = ''] = /v=([\d.]+)/.exec(stdout ?? '') ?? []
  const rules = Number.parseFloat(version) < 7.2 ? [] : ['+client|setinfo']
  if (status === 0) return { name: `${name} ${version}`, executable, skip: false, rules }
  const reason = `NOT TESTED with ${name}: there is no ${executable}. Install it or set ${variable}`
  const isExpected = process.env.CI === 'true'
  if (!isExpected) console.error(reason)
  return { name, executable, skip: isExpected ? false : reason, rules }
}

/** A running server on a port of the loopback interface. */
export interface Node {
  readonly host: string
  readonly port: number
  /** A client with all rights, which is closed when the test ends. */
  readonly admin: Redis
  kill: () => Promise<void>
}

/** Its data is in a folder that is gone when the test ends. */
async function startNode (t: Tearing, { executable }: Family, settings: readonly string[], { configuration, ...options }: RedisOptions & { configuration?: (port: number) => string } = {}): Promise<Node> {
  const folder = mkdtempSync(join(tmpdir(), 'fastify-ws-auth-family-'))
  const port = await freePort()
  const isSecure = options.tls !== undefined
  writeFileSync(join(folder, 'server.conf'), configuration?.(port) ?? '')
  writeFileSync(join(folder, 'key.pem'), KEY)
  writeFileSync(join(folder, 'cert.pem'), CERTIFICATE)
  const ports = isSecure
    ? ['--port', '0', '--tls-port', String(port), '--tls-cert-file', 'cert.pem', '--tls-key-file', 'key.pem', '--tls-ca-cert-file', 'cert.pem', '--tls-auth-clients', 'no']
    : ['--port', String(port)]
  const child = spawn(executable, ['server.conf', '--dir', folder, '--bind', '127.0.0.1', ...ports, ...settings], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] })
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }
  t.teardown(async () => {
    await kill()
    rmSync(folder, { recursive: true, force: true })
  })
  child.stdout.resume()
  const admin = openClient(t, { host: '127.0.0.1', port, retryStrategy: () => 50, maxRetriesPerRequest: null, ...options })
  await Promise.race([admin.ping(), failure(child)])
  return { host: '127.0.0.1', port, admin, kill }
}

async function failure (child: ChildProcess): Promise<never> {
  const [code] = await once(child, 'exit') as [number | null]
  throw new Error(`the server ended at once: ${code}`)
}

/** The user of the README, which may do what is needed and nothing else. */
export const USER = { username: 'ws', password: 'a password of a test' }

/** The command of the README that creates the user, and the further rules that it names for a setting. */
export function accessRules (...further: string[]): string[] {
  const readme = readFileSync('lib/backplane/redis/README.md', 'utf8')
  const [, block = ''] = /^ACL SETUSER ([^`]+)```/m.exec(readme) ?? []
  for (const rule of further) if (!readme.includes(`\`${rule}\``)) throw new Error(`the README does not name ${rule}`)
  return [...block.trim().split(/\s+/), ...further].map((rule) => rule === '>…' ? `>${USER.password}` : rule)
}

/** The rights that the README adds for the connections of users. */
export function countingRules (): string[] {
  const [line = ''] = /^For \[connections per user\][^\n]* add [^\n]*/m.exec(readFileSync('lib/backplane/redis/README.md', 'utf8')) ?? []
  return [...line.matchAll(/`(\+[a-z|]+)`/g)].map(([, rule]) => String(rule))
}

/** Starts one server. */
export async function startServer (t: Tearing, family: Family): Promise<Node> {
  return await startNode(t, family, ['--save', ''])
}

/** Starts one server that speaks TLS, to the user of the README alone. */
export async function startSecureServer (t: Tearing, family: Family, ...further: string[]): Promise<Node> {
  const admin = { username: 'admin', password: 'another password of a test', tls: { ca: CERTIFICATE } }
  const node = await startNode(t, family, ['--save', ''], {
    ...admin,
    configuration: () => `user default off\nuser admin on ~* &* +@all ">${admin.password}"\n`
  })
  await node.admin.call('ACL', 'SETUSER', ...accessRules(...further))
  return node
}

/** A cluster: of three primaries, and a replica of the one that has the keys. */
export interface Cluster {
  readonly primary: Node
  readonly replica: Node
  readonly nodes: readonly Node[]
}

const SLOTS = 16384

/** Starts a cluster, whose user is that of the README. @param key a key of the primary that has the replica */
export async function startCluster (t: Tearing, family: Family, key: string): Promise<Cluster> {
  const settings = (bus: number): string[] => {
    return ['--save', '', '--cluster-enabled', 'yes', '--cluster-port', String(bus), '--cluster-node-timeout', '3000', '--cluster-replica-validity-factor', '0']
  }
  const nodes = await Promise.all((await freePorts(4)).map(async (port) => await startNode(t, family, settings(port))))
  const [first, ...others] = nodes as [Node, ...Node[]]
  const bus = async ({ admin }: Node): Promise<string> => String((await admin.call('CONFIG', 'GET', 'cluster-port') as string[])[1])
  for (const node of others) await first.admin.call('CLUSTER', 'MEET', node.host, String(node.port), await bus(node))
  for (const [i, { admin }] of nodes.slice(0, 3).entries()) {
    await admin.call('CLUSTER', 'ADDSLOTSRANGE', String(Math.ceil(i * SLOTS / 3)), String(Math.ceil((i + 1) * SLOTS / 3) - 1))
    await admin.call('CLUSTER', 'SET-CONFIG-EPOCH', String(i + 1)).catch(() => {})
  }
  for (const { admin } of nodes) await admin.call('ACL', 'SETUSER', ...accessRules('+cluster|slots', '+cluster|info', ...countingRules(), ...family.rules))
  const slot = Number(await first.admin.call('CLUSTER', 'KEYSLOT', key))
  const [primary, replica] = [nodes[Math.floor(slot * 3 / SLOTS)], nodes[3]] as [Node, Node]
  const id = String(await primary.admin.call('CLUSTER', 'MYID'))
  await eventually(async () => await replica.admin.call('CLUSTER', 'REPLICATE', id).then(() => true, () => false), 'the replica knows its primary')
  for (const { admin } of nodes) await eventually(async () => String(await admin.call('CLUSTER', 'INFO')).includes('cluster_state:ok'), 'the cluster is complete')
  await untilReplicated(replica)
  return { primary, replica, nodes }
}

/** A Redis behind a sentinel, and its replica. */
export interface Sentinel {
  readonly primary: Node
  readonly replica: Node
  readonly sentinel: Node
  /** The name of the primary. */
  readonly group: string
}

/** Starts a primary, a replica and a sentinel, whose user is that of the README. */
export async function startSentinel (t: Tearing, family: Family): Promise<Sentinel> {
  const [primary, replica] = await Promise.all([startServer(t, family), startServer(t, family)])
  await replica.admin.call('REPLICAOF', primary.host, String(primary.port))
  for (const { admin } of [primary, replica]) await admin.call('ACL', 'SETUSER', ...accessRules(...countingRules(), ...family.rules))
  await untilReplicated(replica)
  const group = 'main'
  const sentinel = await startNode(t, family, ['--sentinel'], {
    configuration: () => [
      `sentinel monitor ${group} ${primary.host} ${primary.port} 1`, `sentinel down-after-milliseconds ${group} 3000`, `sentinel failover-timeout ${group} 3000`
    ].join('\n')
  })
  await eventually(async () => (await sentinel.admin.call('SENTINEL', 'REPLICAS', group) as unknown[]).length === 1, 'the sentinel knows the replica')
  return { primary, replica, sentinel, group }
}

async function untilReplicated ({ admin }: Node): Promise<void> {
  await eventually(async () => (await admin.info('replication')).includes('master_link_status:up'), 'the replica has all')
}

/** Whether it is a primary now. */
export async function isPrimary ({ admin }: Node): Promise<boolean> {
  return (await admin.info('replication')).includes('role:master')
}

export async function eventually (isTrue: () => Promise<boolean>, what: string): Promise<void> {
  for (let turns = 1500; !await isTrue(); turns--) {
    if (turns <= 0) throw new Error(`not within 30000 ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
