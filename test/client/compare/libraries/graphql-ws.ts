/*
 * graphql-ws with its own server. The client follows two recipes of its documents: it gets another token after 4403, closes with 4403
 * itself when its token expires, and comes back after any problem of the connection.
 */
import type { Server } from 'node:http'
import { buildSchema } from 'graphql'
import { CloseCode, createClient } from 'graphql-ws'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocketServer } from 'ws'
import { WebSocket } from '../socket'
import type { Attached, Host, User } from '../host'
import type { Client, Library } from '../library'
import type { Given, Tokens } from '../tokens'

const schema = buildSchema(`
  type Query { me: String }
  type Mutation { send(text: String!): Boolean }
  type Subscription { silence: String }
`)

async function attach (server: Server, host: Host): Promise<Attached> {
  const webSockets = new WebSocketServer({ server })
  const users = new Map<unknown, User>()
  const running = useServer({
    schema,
    roots: {
      mutation: { send: ({ text }: { text: string }) => host.messages.push(text) > 0 },
      subscription: { silence: async function * () { await new Promise(() => {}) } }
    },
    onConnect: ({ connectionParams, extra }) => {
      const user = host.verify(connectionParams?.token)
      if (typeof user === 'string') return false
      users.set(extra.socket, user)
      host.onOpen(user.sub)
      extra.socket.on('close', () => host.onClose(user.sub))
      return true
    }
  }, webSockets)
  return {
    close: async () => { await running.dispose() },
    logOut: async (sub) => { for (const socket of webSockets.clients) if (users.get(socket)?.sub === sub) socket.close(CloseCode.Forbidden, 'Forbidden') }
  }
}

function open (host: Host, tokens: Tokens): Client {
  const told: string[] = []
  let [given, isRefused, hasStopped]: [Given | null, boolean, boolean] = [null, false, false]
  let timer: NodeJS.Timeout | undefined
  let users = 0
  const client = createClient({
    url: `ws://127.0.0.1:${host.port}/`,
    webSocketImpl: WebSocket,
    shouldRetry: () => true,
    connectionParams: async () => {
      const user = users
      const next = given === null || isRefused ? await tokens.get() : given
      if (user === users) given = next
      isRefused = false
      return { token: next.token }
    },
    on: {
      connected: (socket) => {
        told.push('connected')
        clearTimeout(timer)
        timer = setTimeout(() => (socket as WebSocket).close(CloseCode.Forbidden, 'Forbidden'), given?.expiresIn)
      },
      closed: (event) => {
        const { code } = event as { code: number }
        told.push(`closed ${code}`)
        clearTimeout(timer)
        if (code === CloseCode.Forbidden) isRefused = true
      },
      error: () => { told.push('error') }
    }
  })
  const request = (query: string, variables = {}): void => {
    client.subscribe({ query, variables }, {
      next: () => {},
      complete: () => {},
      error: () => {
        hasStopped = true
        told.push('error of the operation')
      }
    })
  }
  request('subscription { silence }')
  return {
    told,
    hasStopped: () => hasStopped,
    send: (text) => request('mutation ($text: String!) { send(text: $text) }', { text }),
    switchUser: () => {
      users++
      given = null
      client.terminate()
    },
    close: () => {
      clearTimeout(timer)
      void client.dispose()
    }
  }
}

export const graphqlWs: Library = { name: 'graphql-ws', attach, open, without: { idle: 'its server closes no idle connection' } }
