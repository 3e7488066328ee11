/*
 * The proxies of example/deploy, each a process of its own, with ports and a folder of its own: as its file there says, with
 * TLS beside it, or as somebody writes it at first.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually } from './browser'
import { CERTIFICATE, KEY } from './certificate'
import { tie } from './example'
import { freePorts } from './free-port'

/** Idle connections of a deployed proxy end after so many seconds here, in place of the 75 of the files. */
export const IDLE = 10

interface Tearing { teardown (end: () => unknown): void }

/** Where a proxy is and what stands behind it. */
interface Place {
  readonly folder: string
  readonly upstream: string
  /** Further instances, which nginx and HAProxy have if they are deployed. */
  readonly others: readonly string[]
  /** After how many seconds idle connections end if it is deployed. */
  readonly idle: number
  readonly plain: number
  /** For TLS, or in a bare proxy for a listener that drops `Upgrade`. */
  readonly other: number
}

interface Kind {
  readonly program: string
  readonly file: string
  readonly args: (file: string, folder: string) => string[]
  /** The settings of example/deploy, and the same with TLS. */
  readonly deployed: (text: string, place: Place) => string
  /** The least settings that answer, with the log that the proxy has by default. */
  readonly bare: (place: Place) => string
}

const NGINX_PROCESS = (folder: string): string => `daemon off; pid ${folder}/pid; error_log ${folder}/error.log`
const NGINX_HTTP = (folder: string): string => ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')

const APACHE_MODULES = ['mpm_event', 'authz_core', 'headers', 'proxy', 'proxy_http', 'ssl', 'http2', 'log_config']
const APACHE_PROCESS = (folder: string): string => `
ServerName localhost
ServerRoot /usr/lib/apache2
${APACHE_MODULES.map((name) => `<IfModule !mod_${name}.c>\nLoadModule ${name}_module modules/mod_${name}.so\n</IfModule>`).join('\n')}
DefaultRuntimeDir ${folder}
PidFile ${folder}/pid
Mutex file:${folder}
ErrorLog ${folder}/error.log
StartServers 1
User www-data
Group www-data
`

const KINDS = {
  nginx: {
    program: process.env.NGINX_PATH || '/usr/sbin/nginx',
    file: 'nginx.conf',
    args: (file, folder) => ['-c', file, '-p', folder, '-e', join(folder, 'error.log')],
    deployed: (text, { folder, upstream, others, idle, plain, other }) => text
      .replace('error_log stderr crit', `${NGINX_PROCESS(folder)} crit`)
      .replace('http {', `http { ${NGINX_HTTP(folder)}`)
      .replace('/dev/stdout', `${folder}/access.log`)
      .replace(/server chat:3000(.*;)/, (_line, rest: string) => [upstream, ...others].map((one) => `server ${one}${rest}`).join(' '))
      .replace('listen 8080', `listen 127.0.0.1:${plain}; listen 127.0.0.1:${other} ssl http2; ssl_certificate ${folder}/chat.crt; ssl_certificate_key ${folder}/chat.key`)
      .replaceAll('75s', `${idle}s`),
    bare: ({ folder, upstream, plain, other }) => `
${NGINX_PROCESS(folder)};
events {}
http {
  ${NGINX_HTTP(folder)}
  access_log ${folder}/access.log;
  server { listen 127.0.0.1:${plain}; listen 127.0.0.1:${other}; location / { proxy_pass http://${upstream}; } }
}`
  },
  HAProxy: {
    program: process.env.HAPROXY_PATH || '/usr/sbin/haproxy',
    file: 'haproxy.cfg',
    args: (file) => ['-db', '-f', file],
    deployed: (text, { folder, upstream, others, idle, plain, other }) => text
      .replace('bind :8080', `bind 127.0.0.1:${plain}\n  bind 127.0.0.1:${other} ssl crt ${folder}/chat.pem alpn h2,http/1.1`)
      .replace('server chat chat:3000', [upstream, ...others].map((one, number) => `server chat${number} ${one}`).join('\n  '))
      .replace('timeout tunnel 75s', `timeout tunnel ${idle}s`),
    bare: ({ upstream, plain, other }) => `
global
  log stdout format raw local0
defaults
  mode http
  log global
  option httplog
  timeout connect 5s
  timeout client 50s
  timeout server 50s
listen bare
  bind 127.0.0.1:${plain}
  server chat ${upstream}
listen dropping
  bind 127.0.0.1:${other}
  http-request del-header Upgrade
  server chat ${upstream}
`
  },
  Apache: {
    program: process.env.APACHE_PATH || '/usr/sbin/apache2',
    file: 'apache.conf',
    args: (file) => ['-DFOREGROUND', '-f', file],
    deployed: (text, { folder, upstream, idle, plain, other }) => {
      const settings = text.replaceAll('chat:3000', upstream).replace('Timeout 75', `Timeout ${idle}`)
        .replace('/dev/stdout', `${folder}/access.log`).replace('/dev/stderr', `${folder}/error.log`)
      const host = /^<VirtualHost[^]*<\/VirtualHost>$/m.exec(settings)?.[0] ?? ''
      const tls = `\n  SSLEngine on\n  SSLCertificateFile ${folder}/chat.crt\n  SSLCertificateKeyFile ${folder}/chat.key\n  Protocols h2 http/1.1\n  H2WebSockets on\n`
      return APACHE_PROCESS(folder) + settings.replace('Listen 8080', `Listen 127.0.0.1:${plain}\nListen 127.0.0.1:${other}`).replace('*:8080', `*:${plain}`) +
        host.replace('*:8080>', `*:${other}>${tls}`)
    },
    bare: ({ folder, upstream, plain, other }) => `${APACHE_PROCESS(folder)}
Listen 127.0.0.1:${plain}
Listen 127.0.0.1:${other}
LogFormat "%h %l %u %t \\"%r\\" %>s %O \\"%{Referer}i\\" \\"%{User-Agent}i\\"" combined
CustomLog ${folder}/access.log combined
ProxyPass / http://${upstream}/
`
  },
  Caddy: {
    program: process.env.CADDY_PATH || '/usr/bin/caddy',
    file: 'Caddyfile',
    args: (file) => ['run', '--adapter', 'caddyfile', '--config', file],
    deployed: (text, { folder, upstream, plain, other }) => {
      const settings = text.replace('chat:3000', upstream).replace('{\n', '{\n\tadmin off\n\tauto_https off\n')
      const site = settings.slice(settings.indexOf(':8080 {')).replace(':8080 {', `https://:${other} {\n\tbind 127.0.0.1\n\ttls ${folder}/chat.crt ${folder}/chat.key`)
      return settings.replace(':8080 {', `http://:${plain} {\n\tbind 127.0.0.1`) + site
    },
    bare: ({ upstream, plain, other }) => `
{
  admin off
  auto_https off
}
http://:${plain} {
  bind 127.0.0.1
  log
  reverse_proxy ${upstream}
}
http://:${other} {
  bind 127.0.0.1
  reverse_proxy ${upstream} {
    header_up -Upgrade
  }
}
`
  }
} satisfies Record<string, Kind>

export type ProxyName = keyof typeof KINDS

export const PROXIES = Object.keys(KINDS) as ProxyName[]

/** Why a proxy cannot be tested here, or `false`. In CI nothing is skipped: it fails. */
export function reasonToSkip (name: ProxyName): string | false {
  const { program } = KINDS[name]
  if (existsSync(program) || process.env.CI === 'true') return false
  const reason = `NOT TESTED behind ${name}: there is none at ${program}. Install it or set ${name.toUpperCase()}_PATH`
  console.error(reason)
  return reason
}

/** A running proxy. */
export interface DeployedProxy {
  readonly url: string
  /** By TLS if it is deployed; by HTTP, and without `Upgrade`, if it is bare. */
  readonly other: string
  /** All that it has logged until now. */
  output (): string
}

/** How a proxy is started. */
export interface ProxySettings {
  readonly isBare?: boolean
  /** In seconds. Default: {@link IDLE}. */
  readonly idle?: number
}

/** Starts a proxy with its file of example/deploy, or as it is without that file, before an app or several. It ends with the test. */
export async function startProxyOf (t: Tearing, name: ProxyName, upstreams: string | readonly string[], { isBare = false, idle = IDLE }: ProxySettings = {}): Promise<DeployedProxy> {
  const kind: Kind = KINDS[name]
  const folder = mkdtempSync(join(tmpdir(), `fastify-ws-auth-${name}-`))
  t.teardown(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
  const [plain = 0, other = 0] = await freePorts(2)
  const [upstream = '', ...others] = typeof upstreams === 'string' ? [upstreams] : upstreams
  const place = { folder, upstream, others, idle, plain, other }
  const files = { 'chat.crt': CERTIFICATE, 'chat.key': KEY, 'chat.pem': `${CERTIFICATE}\n${KEY}\n` }
  for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, file), text)
  const text = readFileSync(join(process.cwd(), 'example/deploy', kind.file), 'utf8')
  const file = join(folder, kind.file)
  writeFileSync(file, isBare ? kind.bare(place) : kind.deployed(text, place))
  const { output, hasEnded } = await run(t, kind, file, folder)
  await eventually(async () => hasEnded() || (await accepts(plain) && await accepts(other)), `${name} listens`)
  if (hasEnded()) throw new Error(`${name} does not run with ${kind.file}:\n${output()}`)
  return { url: `http://127.0.0.1:${plain}`, other: `${isBare ? 'http' : 'https'}://127.0.0.1:${other}`, output }
}

async function run (t: Tearing, { program, args }: Kind, file: string, folder: string): Promise<{ output: () => string, hasEnded: () => boolean }> {
  const env = { ...process.env, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder }
  const child = spawn(program, args(file, folder), { env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  tie(child, child.pid && -child.pid)
  const exited = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGTERM')
    const timer = setTimeout(() => child.pid !== undefined && process.kill(-child.pid, 'SIGKILL'), 3000)
    await exited
    clearTimeout(timer)
  })
  let printed = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => { printed += text })
  await once(child, 'spawn')
  const logs = (): string[] => readdirSync(folder).filter((name) => name.endsWith('.log'))
  return {
    output: () => printed + logs().map((name) => readFileSync(join(folder, name), 'utf8')).join(''),
    hasEnded: () => child.exitCode !== null
  }
}

async function accepts (port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  return await new Promise<boolean>((resolve) => socket.once('connect', () => resolve(true)).once('error', () => resolve(false))).finally(() => socket.destroy())
}
