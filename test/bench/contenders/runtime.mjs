// @ts-check
/*
 * The WebSocket servers that Bun and Deno have themselves, guarded by jose, as their users write it. This file is run by Bun or by Deno,
 * in a process of its own, and takes the commands of `server.mjs` that its questions need.
 */
import process from 'node:process'
import { setTimeout as sleep } from 'node:timers/promises'
import { importSPKI, jwtVerify } from 'jose'

/** What the types of Node.js do not have. @type {any} */
const { Bun, Deno, gc } = globalThis

/** How long the last connections may take to be gone, in milliseconds. */
const TIMEOUT = 20_000

/** How many WebSockets are open. */
const clients = { count: 0 }
/** @type {NodeJS.CpuUsage} */
let usageBefore

/** What has to be sent or sent back, by the path of the route. @type {Record<string, { opened: (user: string) => string | null, isEcho: boolean }>} */
const routes = {
  '/chat': { opened: () => null, isEcho: false },
  '/who': { opened: (user) => user, isEcho: false },
  '/echo': { opened: () => null, isEcho: true }
}

const commands = {
  async listen ({ algorithm, keys }) {
    const key = algorithm === 'HS256' ? new TextEncoder().encode(keys.public) : await importSPKI(keys.public, algorithm)
    /** Returns the user, or `null`. @param {Request} request */
    const userOf = async (request) => {
      try {
        const { payload } = await jwtVerify(request.headers.get('authorization')?.split(' ')[1] ?? '', key)
        return payload.sub ?? null
      } catch {
        return null
      }
    }
    return Bun === undefined ? serveDeno(userOf) : serveBun(userOf)
  },

  begin () {
    usageBefore = process.cpuUsage()
  },

  async end () {
    const deadline = Date.now() + TIMEOUT
    while (clients.count > 0) {
      if (Date.now() > deadline) throw new Error(`${clients.count} connections are open after ${TIMEOUT} ms`)
      await sleep(1)
    }
    return commands.usage()
  },

  usage () {
    return process.cpuUsage(usageBefore)
  },

  async memory () {
    for (let i = 0; i < 3; i++) {
      if (Bun === undefined) gc?.()
      else Bun.gc(true)
      await sleep(50)
    }
    const { heapUsed, external, rss } = process.memoryUsage()
    return { heapUsed, external, rss, connections: clients.count }
  }
}

/** @param {(request: Request) => Promise<string | null>} userOf @returns {number} the port */
function serveBun (userOf) {
  const server = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    fetch: async (/** @type {Request} */ request, /** @type {any} */ server) => {
      const user = await userOf(request)
      if (user === null) return new Response(null, { status: 401 })
      return server.upgrade(request, { data: { user, route: routes[new URL(request.url).pathname] } }) ? undefined : new Response(null, { status: 400 })
    },
    websocket: {
      open (/** @type {any} */ socket) {
        clients.count++
        const text = socket.data.route.opened(socket.data.user)
        if (text !== null) socket.send(text)
      },
      message (/** @type {any} */ socket, /** @type {string | Uint8Array} */ data) {
        if (socket.data.route.isEcho) socket.send(data)
      },
      close () { clients.count-- }
    }
  })
  return server.port
}

/** @param {(request: Request) => Promise<string | null>} userOf @returns {number} the port */
function serveDeno (userOf) {
  const server = Deno.serve({ port: 0, hostname: '127.0.0.1', onListen () {} }, async (/** @type {Request} */ request) => {
    const user = await userOf(request)
    if (user === null) return new Response(null, { status: 401 })
    const { opened, isEcho } = routes[new URL(request.url).pathname]
    const { socket, response } = Deno.upgradeWebSocket(request)
    socket.onopen = () => {
      clients.count++
      const text = opened(user)
      if (text !== null) socket.send(text)
    }
    socket.onclose = () => { clients.count-- }
    socket.onerror = () => {}
    if (isEcho) socket.onmessage = (/** @type {{ data: any }} */ { data }) => socket.send(data)
    return response
  })
  return server.addr.port
}

process.on('message', async (/** @type {{ command: keyof typeof commands, argument: any }} */ { command, argument }) => {
  try {
    process.send?.({ answer: await commands[command](argument) })
  } catch (error) {
    process.send?.({ error: String(/** @type {Error} */ (error).stack) })
  }
})
process.on('disconnect', () => process.exit())
