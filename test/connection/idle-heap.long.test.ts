/*
 * What an idle connection keeps of the heap. A field more is 8 bytes, a list 32, a closure 100, and a request that is held by mistake
 * is 2,000.
 */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import t from 'tap'
import { sign } from '../helpers/app'
import { requestText } from '../helpers/raw-client'

/** Bytes of heap of each connection by the major version of Node.js: if its handler keeps nothing, and if it keeps the request. */
const FIGURES: Record<number, { readonly chat: number, readonly held: number }> = {
  20: { chat: 3040, held: 4680 },
  22: { chat: 2845, held: 4430 },
  24: { chat: 2940, held: 4640 },
  26: { chat: 2965, held: 4655 }
}
/** How far a figure may be off. */
const TOLERANCE = 0.05

const CONNECTIONS = 2000
/** Open before, so that lists have grown and all code is compiled. */
const BEFORE = 500

const OWN = Number(process.versions.node.split('.')[0])
const SERVER = require.resolve('../helpers/idle-server')

/** Opens connections of as many users, some at a time. */
async function open (port: number, path: string, first: number, count: number): Promise<Socket[]> {
  const sockets: Socket[] = []
  let next = first
  const work = async (): Promise<void> => {
    while (next < first + count) {
      const authorization = `Bearer ${sign({ sub: `user-${next++}`, exp: Math.floor(Date.now() / 1000) + 3600 })}`
      const socket = connect(port, '127.0.0.1')
      socket.write(requestText({ path, headers: { authorization } }))
      const [answer] = await once(socket, 'data') as [Buffer]
      if (!answer.includes(' 101 ')) throw new Error(answer.toString())
      sockets.push(socket)
    }
  }
  await Promise.all(Array.from({ length: 16 }, work))
  return sockets
}

async function ask (server: ChildProcess, connections: number): Promise<number> {
  server.send(connections)
  const [bytes] = await once(server, 'message') as [number]
  return bytes
}

/** Measures in a process of its own, by another Node.js. */
async function bytesEach (program: string, path: string): Promise<number> {
  const { PATH, HOME } = process.env
  const server = fork(SERVER, [], { execPath: program, execArgv: ['--expose-gc', '--no-warnings', '--no-memory-reducer'], env: { PATH, HOME } })
  const [port] = await once(server, 'message') as [number]
  const sockets = await open(port, path, 0, BEFORE)
  for (const socket of sockets.splice(0)) socket.destroy()
  await ask(server, 0)
  sockets.push(...await open(port, path, BEFORE, BEFORE))
  const before = await ask(server, BEFORE)
  sockets.push(...await open(port, path, 2 * BEFORE, CONNECTIONS))
  const after = await ask(server, BEFORE + CONNECTIONS)
  server.disconnect()
  for (const socket of sockets) socket.destroy()
  return (after - before) / CONNECTIONS
}

t.jobs = 2

for (const [major, figures] of Object.entries(FIGURES)) {
  const program = process.env[`NODE_${major}_PATH`] || (Number(major) === OWN ? process.execPath : `node${major}`)
  const isThere = existsSync(program) || process.env.CI === 'true'
  const skip = isThere ? false : `NOT TESTED with Node.js ${major}: set NODE_${major}_PATH`
  if (skip !== false) console.error(skip)
  for (const [path, figure] of Object.entries(figures)) {
    // What a request is, is Node.js's affair: one version shows whether it is let go.
    if (path === 'held' && Number(major) !== OWN) continue
    t.test(`an idle connection of /${path} keeps ${figure} bytes of heap on Node.js ${major}`, { skip, buffered: true }, async (t) => {
      const bytes = await bytesEach(program, `/${path}`)
      t.comment(`${bytes.toFixed(0)} bytes`)
      t.ok(bytes <= figure * (1 + TOLERANCE), `${bytes} is no more`)
      t.ok(bytes >= figure * (1 - TOLERANCE), `${bytes} is no less: if it is so, the figure may be lowered`)
    })
  }
}
