/*
 * The recipes for brokers of messages, MQTT and STOMP, each with the real client.
 */
import { once } from 'node:events'
import type { EventEmitter } from 'node:events'
import type { Client, StompConfig } from '@stomp/stompjs' with { 'resolution-mode': 'import' }
import { setTimeout as delay } from 'node:timers/promises'
import { connect } from 'mqtt'
import type { IClientOptions, MqttClient } from 'mqtt'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { buildPackage, startFile } from '../helpers/example'

t.before(buildPackage)

async function tokenOf (url: string, body: object): Promise<string> {
  const response = await fetch(`${url}/token`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  return (await response.json() as { token: string }).token
}

/** Clients of mqtt.js are emitters by structure only. */
function next (client: MqttClient, event: string): Promise<unknown[]> {
  return once(client as unknown as EventEmitter, event)
}

function openMqtt (t: Test, url: string, options: IClientOptions): MqttClient {
  const client = connect(url, { reconnectPeriod: 0, ...options })
  t.teardown(() => { client.end(true) })
  return client.on('error', () => {})
}

t.test('MQTT: the broker checks the user for each topic', async (t) => {
  const { url, output } = await startFile(t, 'recipes/mqtt.js')
  const broker = `${url.replace('http', 'ws')}/mqtt`
  const token = await tokenOf(url, { name: 'ann', seconds: 8 })
  const sockets: WebSocket[] = []
  const createWebsocket = (address: string, protocols: string[]): WebSocket => {
    const socket = new WebSocket(address, [...protocols, 'bearer', token])
    sockets.push(socket)
    return socket
  }
  const ann = openMqtt(t, broker, { createWebsocket })
  await next(ann, 'connect')
  const closed = once(sockets[0] as WebSocket, 'close')
  t.equal(sockets[0]?.protocol, 'mqtt')
  await ann.subscribeAsync('ann/#', { qos: 1 })
  const message = next(ann, 'message')
  await ann.publishAsync('ann/lamp', 'on', { qos: 1 })
  const [topic, payload] = await message
  t.equal(`${topic} ${String(payload)}`, 'ann/lamp on')

  const bea = openMqtt(t, `${broker}?token=${await tokenOf(url, { name: 'bea' })}`, {})
  await next(bea, 'connect')
  await t.rejects(bea.subscribeAsync('ann/#'), 'topics of another user')
  const end = next(bea, 'close')
  bea.publish('ann/lamp', 'off')
  await end
  t.pass('a publication below the name of another user ends its connection')

  const [code, reason] = await closed
  t.equal(`${code} ${String(reason)}`, '3000 token_expired')
  await next(openMqtt(t, broker, {}), 'close')
  // mqtt.js does not tell its user of a status, so the log has to.
  while (!output().includes('the client offers the subprotocols mqtt in place of: bearer, <token>')) await delay(20)
  t.notMatch(output(), /eyJ/, 'no token is in the log')
})

async function openStomp (t: Test, config: StompConfig): Promise<{ client: Client, connected: Promise<Record<string, string>>, closed: Promise<string> }> {
  const { Client } = await import('@stomp/stompjs')
  const client = new Client({ reconnectDelay: 0, ...config })
  t.teardown(() => client.deactivate())
  const closed = new Promise<string>((resolve) => { client.onWebSocketClose = ({ code, reason }) => resolve(`${code} ${reason}`) })
  const connected = new Promise<Record<string, string>>((resolve) => { client.onConnect = ({ headers }) => resolve(headers) })
  client.activate()
  return { client, connected, closed }
}

t.test('STOMP: the token comes in CONNECT or as a subprotocol, and the server chooses the protocol of STOMP', async (t) => {
  const { url, output } = await startFile(t, 'recipes/stomp.js')
  const brokerURL = `${url.replace('http', 'ws')}/stomp`
  Object.assign(globalThis, { WebSocket })
  const token = await tokenOf(url, { name: 'ann', seconds: 8 })
  const ann = await openStomp(t, { brokerURL, connectHeaders: { Authorization: `Bearer ${token}` } })
  t.match(await ann.connected, { version: '1.2', 'user-name': 'ann' })

  const socket = new WebSocket(brokerURL, ['v12.stomp', 'v11.stomp', 'bearer', await tokenOf(url, { name: 'bea' })])
  const bea = await openStomp(t, { webSocketFactory: () => socket as never })
  t.match(await bea.connected, { 'user-name': 'bea' })
  t.equal(socket.protocol, 'v12.stomp')

  const receipt = new Promise((resolve) => ann.client.watchForReceipt('subscribed', resolve))
  const got: string[] = []
  const last = new Promise<{ headers: Record<string, string> }>((resolve) => {
    const onMessage = (message: { body: string, headers: Record<string, string> }): void => {
      if (got.push(message.body) === 2) resolve(message)
    }
    // The second takes the place of the first, because they have one id.
    ann.client.subscribe('/topic/lamp', onMessage, { id: 'lamp' })
    ann.client.subscribe('/topic/lamp', onMessage, { id: 'lamp', receipt: 'subscribed' })
  })
  await receipt
  for (const body of ['on\n\noff', 'end']) bea.client.publish({ destination: '/topic/lamp', body })
  t.match(await last, { headers: { from: 'bea' } })
  t.strictSame(got, ['on\n\noff', 'end'])

  const refused = await openStomp(t, { brokerURL, connectHeaders: { Authorization: `Bearer ${token}x` } })
  t.equal(await refused.closed, '3000 token_invalid')
  t.equal(await ann.closed, '3000 token_expired')
  t.notMatch(output(), /eyJ/, 'no token is in the log')
})
