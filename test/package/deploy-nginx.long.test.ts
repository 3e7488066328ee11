/*
 * The server of example/deploy: it ends by SIGTERM as its document says, and works behind nginx with the configuration there.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { SECRET, sign } from '../helpers/app'
import { eventually } from '../helpers/browser'
import { buildPackage, startFile, tie } from '../helpers/example'
import { reasonToSkip as reasonToSkipRedis, startRedis } from '../helpers/redis'

const NGINX = process.env.NGINX_PATH || '/usr/sbin/nginx'
const TOKEN = sign({ sub: 'ann', roles: ['member'] })

t.before(buildPackage)

/** Why nginx cannot be tested here, or `false`. In CI nothing is skipped: it fails. */
function reasonToSkipNginx (): string | false {
  if (existsSync(NGINX) || process.env.CI === 'true') return false
  const reason = `NOT TESTED behind nginx: there is none at ${NGINX}. Install it or set NGINX_PATH`
  console.error(reason)
  return reason
}

async function startServer (t: Test): Promise<{ url: string, output: () => string, stop: () => Promise<number | null> }> {
  const redis = await startRedis(t)
  return await startFile(t, 'deploy/server.js', { REDIS_URL: redis.path, JWT_SECRET: SECRET, HOST: '127.0.0.1', TRUST_PROXY: 'loopback' })
}

/** A connection that has been greeted, and what it will be closed with. */
async function enter (url: string, headers: Record<string, string> = {}): Promise<{ greeting: string, closed: Promise<string> }> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/chat`, ['bearer', TOKEN], { headers })
  const closed = once(socket, 'close').then(([code, reason]) => `${code} ${reason}`)
  const [greeting] = await once(socket, 'message')
  return { greeting: String(greeting), closed }
}

t.test('SIGTERM closes each client with 1001 and ends the process with 0', { skip: reasonToSkipRedis() }, async (t) => {
  const { url, stop } = await startServer(t)
  t.equal(await (await fetch(`${url}/healthz`)).text(), 'ok')
  const { greeting, closed } = await enter(url)
  t.equal(greeting, 'hello ann')
  t.match(await (await fetch(`${url}/metrics`)).text(), /^ws_auth_connections 1$/m)
  const [code, close] = await Promise.all([stop(), closed])
  t.equal(code, 0)
  t.equal(close, '1001 shutdown')
})

t.test('behind nginx a socket opens, its Origin is checked, and no query is in the logs of nginx', { skip: reasonToSkipRedis() || reasonToSkipNginx() }, async (t) => {
  const { url, stop } = await startServer(t)
  const nginx = await startNginx(t, url)
  const { greeting, closed } = await enter(nginx.url, { origin: nginx.url })
  t.equal(greeting, 'hello ann')
  const headers = { cookie: `token=${TOKEN}`, origin: 'https://evil.example' }
  t.equal((await fetch(`${nginx.url}/chat?token=${TOKEN}`, { headers })).status, 403)
  t.equal((await fetch(`${nginx.url}/chat`, { headers: { ...headers, origin: nginx.url } })).status, 426, 'the own origin would be upgraded')
  t.equal((await fetch(`${nginx.url}/metrics`)).status, 404)
  await stop()
  t.equal(await closed, '1001 shutdown')
  t.equal((await fetch(`${nginx.url}/chat?token=${TOKEN}`)).status, 502)
  await eventually(() => nginx.output().includes('/chat HTTP/1.1" 502'), 'the last request in the log')
  t.match(nginx.output(), /"GET \/chat HTTP\/1\.1" 101/)
  t.notMatch(nginx.output(), /eyJ/)
})

/** Starts nginx with the configuration of example/deploy, but for its port, its upstream and the files of its process. */
async function startNginx (t: Test, upstream: string): Promise<{ url: string, output: () => string }> {
  const folder = mkdtempSync(join(tmpdir(), 'fastify-ws-auth-nginx-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const port = await freePort()
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')
  const text = readFileSync(join(process.cwd(), 'example/deploy/nginx.conf'), 'utf8')
    .replace('listen 8080', `listen 127.0.0.1:${port}`)
    .replace('server chat:3000', `server ${new URL(upstream).host}`)
    .replace('http {', `http { ${temporary}`)
    .replace('/dev/stdout', `${folder}/access.log`)
    .replace('error_log stderr', `pid ${folder}/pid; daemon off; error_log ${folder}/error.log`)
  writeFileSync(join(folder, 'nginx.conf'), text)
  const child = spawn(NGINX, ['-c', join(folder, 'nginx.conf'), '-p', folder, '-e', join(folder, 'error.log')], { stdio: 'ignore', detached: true })
  tie(child, child.pid && -child.pid)
  const exited = once(child, 'exit')
  t.teardown(async () => { child.kill('SIGTERM'); await exited })
  const url = `http://127.0.0.1:${port}`
  await eventually(() => fetch(`${url}/healthz`).then(({ ok }) => ok, () => false), 'nginx listens')
  return { url, output: () => ['access.log', 'error.log'].map((name) => readFileSync(join(folder, name), 'utf8')).join('') }
}

async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
