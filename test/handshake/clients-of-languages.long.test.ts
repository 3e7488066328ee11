/* Clients of other languages, by the libraries that people have: each in test/clients, all at once against one app. A client prints what it sees. */
import { execFile, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { sign, start } from '../helpers/app'
import { plainAnswer } from '../helpers/plain-frames'

const TIMEOUT = 60_000
const PYTHON = process.env.PYTHON_PATH || '/usr/bin/python3'
/** What `go` needs to take its libraries from Debian's packages, and what it compiles into a folder of its own. */
const GO_ENVIRONMENT = { GO111MODULE: 'off', GOPATH: '/usr/share/gocode', GOFLAGS: '' }

interface Client {
  /** How its file in test/clients is run. */
  readonly command: readonly [program: string, ...args: string[]]
  readonly file: string
  /** A command that succeeds if the client can be run here. */
  readonly probe: readonly [program: string, ...args: string[]]
  readonly packages: string
  /** Whether `.ci/run` leaves it out, and why. */
  readonly leftOut?: string
  readonly env?: Record<string, string>
}

const CLIENTS: Record<string, Client> = {
  'Python, websockets': {
    command: [PYTHON], file: 'python-websockets.py', probe: [PYTHON, '-c', 'import websockets'], packages: 'python3-websockets'
  },
  'Python, aiohttp': {
    command: [PYTHON], file: 'python-aiohttp.py', probe: [PYTHON, '-c', 'import aiohttp'], packages: 'python3-aiohttp'
  },
  'Java, java.net.http': {
    command: ['java', '-XX:TieredStopAtLevel=1'], file: 'java-net-http.java', probe: ['javac', '--version'], packages: 'default-jdk-headless'
  },
  'Perl, Mojolicious': {
    command: ['perl'], file: 'perl-mojolicious.pl', probe: ['perl', '-MMojo::UserAgent', '-e', '1'], packages: 'libmojolicious-perl'
  },
  'Go, gorilla/websocket': {
    command: ['go', 'run'],
    file: 'go-gorilla.go',
    probe: ['go', 'list', 'github.com/gorilla/websocket'],
    packages: 'golang-go golang-github-gorilla-websocket-dev',
    leftOut: 'Go takes 460 MB and a minute',
    env: GO_ENVIRONMENT
  },
  curl: { command: ['sh'], file: 'curl.sh', probe: ['curl', '--version'], packages: 'curl' }
}

/** In seconds since the epoch. */
const now = Math.floor(Date.now() / 1000)
const TOKEN = sign({ sub: 'ann', iat: now, exp: now + 3600 })
const NEXT_TOKEN = sign({ sub: 'ann', iat: now, exp: now + 7200 })
const OK = { type: 'auth.ok', expiresAt: (now + 3600) * 1000 }
const RENEWED = { type: 'auth.ok', expiresAt: (now + 7200) * 1000 }

const STEPS = [
  { step: 'header', greeting: 'hello ann' },
  { step: 'subprotocol', protocol: 'bearer', greeting: 'hello ann' },
  { step: 'refusal', status: 401 },
  { step: 'first message', answer: OK, greeting: 'hello ann' },
  { step: 'renewal after it', answer: RENEWED },
  { step: 'renewal by offer', protocol: 'bearer', opening: 'auth.ok', answer: RENEWED },
  { step: 'expiry', code: 3000, reason: 'token_expired' }
]
const CURL_STEPS = [
  { step: 'header', status: 101, greeting: 'hello ann' },
  { step: 'subprotocol', status: 101, protocol: 'bearer', greeting: 'hello ann' },
  { step: 'refusal', status: 401 }
]

/** Why a client is not run here, or `false`. In CI only those that `.ci/run` leaves out are skipped. */
function reasonToSkip (name: string, { probe: [program, ...args], packages, leftOut, env }: Client): string | false {
  if (process.env.CI === 'true' && leftOut === undefined) return false
  if (spawnSync(program, args, { env: { ...process.env, ...env } }).status === 0) return false
  const reason = `NOT TESTED with ${name}: install ${packages}${leftOut === undefined ? '' : ` (CI does not, because ${leftOut})`}`
  console.error(reason)
  return reason
}

/** What the handlers got. */
const got = new Set<string>()
const running = new Map<string, Promise<{ stdout: string }>>()
const skips = new Map(Object.entries(CLIENTS).map(([name, client]) => [name, reasonToSkip(name, client)]))

t.before(async () => {
  const { port } = await start(t, {
    plugin: { token: { message: true } },
    routes: (app) => {
      app.get('/chat', { websocket: true }, (socket, request) => {
        socket.send(`hello ${request.wsAuth?.sub}`)
        socket.on('message', (data) => {
          got.add(String(data))
          // It is for the last step of a client.
          const iat = Math.floor(Date.now() / 1000)
          socket.send(sign({ sub: 'ann', iat, exp: iat + 8 }))
        })
      })
    }
  })
  const folder = mkdtempSync(join(tmpdir(), 'fastify-ws-auth-clients-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
  for (const [name, client] of Object.entries(CLIENTS)) {
    if (skips.get(name) === false) running.set(name, run(client, `ws://127.0.0.1:${port}/chat`, folder))
  }
  // Each test below reads how its own has ended.
  await Promise.allSettled(running.values())
})

function run ({ command: [program, ...args], file, env }: Client, url: string, folder: string): Promise<{ stdout: string }> {
  const temporary = join(folder, file)
  mkdirSync(temporary)
  return promisify(execFile)(program, [...args, join(process.cwd(), 'test/clients', file)], {
    timeout: TIMEOUT,
    env: { ...process.env, ...env, WS_URL: url, TOKEN, NEXT_TOKEN, TMPDIR: temporary }
  })
}

for (const [name, { file }] of Object.entries(CLIENTS)) {
  t.test(`${name}: ${file} reads what PROTOCOL.md says`, { skip: skips.get(name) }, async (t) => {
    const { stdout } = await running.get(name) as { stdout: string }
    const lines = stdout.trim().split('\n').map((line) => {
      const { answer, ...step } = JSON.parse(line)
      return answer === undefined ? step : { ...step, answer: plainAnswer(answer) }
    })
    t.strictSame(lines, name === 'curl' ? CURL_STEPS : STEPS)
  })
}

const skipsAll = Object.keys(CLIENTS).every((name) => name === 'curl' || skips.get(name) !== false) && 'there is no language'
t.test('no handler gets an auth frame, however a language writes it', { skip: skipsAll }, async (t) => {
  t.strictSame([...got], ['token'])
})
