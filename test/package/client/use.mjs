// Uses the installed client in any runtime: `use.mjs <url> <token>` prints what it saw as JSON, with the WebSocket of the runtime, if it has one.
import { connect, webSocketClass, WsAuthClientError } from 'fastify-ws-auth-client'

const [url, token] = (globalThis.Deno?.args ?? process.argv.slice(2)).slice(-2)
const names = [typeof connect, typeof webSocketClass, typeof WsAuthClientError]
if (globalThis.WebSocket === undefined) {
  console.log(JSON.stringify([...names, 'no WebSocket']))
} else {
  const socket = connect(url, { token: () => token })
  await socket.opened
  const messages = socket.messages()
  socket.send('hello')
  const { value } = await messages.next()
  socket.close()
  const { done } = await messages.next()
  const Class = webSocketClass({ token: () => token })
  const one = new Class(url)
  await new Promise((resolve) => { one.onopen = resolve })
  one.close(4001, 'bye')
  const { code } = await new Promise((resolve) => { one.onclose = resolve })
  console.log(JSON.stringify([...names, value, socket.state.status, done, code]))
}
